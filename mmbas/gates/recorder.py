"""Collects what gates decide and replaces their logits, for the code inside a ``with`` statement.

Both are kept in context variables, none of it on the modules. So the threads of a program do not
see each other, statements nest, and copies of a model carry nothing along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from torch import Tensor

from mmbas.gates.scoped import Scoped

if TYPE_CHECKING:
    from mmbas.gates.gate import Gate
    from mmbas.gates.gate_output import GateOutput

Listener = Callable[["Gate", "GateOutput"], None]
Forced = Tensor | float | None

_LISTENERS: Scoped[Listener] = Scoped("mmbas_listeners")
_FORCED: Scoped[Mapping[Gate, Tensor | float]] = Scoped("mmbas_forced_logits")


def is_recording() -> bool:
    """Tell whether any listener wants the decisions of gates now."""
    return bool(_LISTENERS.values())


def record(gate: Gate, output: GateOutput) -> None:
    """Tell all who listen what a gate has decided; what runs a gate calls this once per call."""
    record_all([(gate, output)])


def record_all(outputs: Iterable[tuple[Gate, GateOutput]]) -> None:
    """Tell all who listen what several gates have decided, in order."""
    listeners = _LISTENERS.values()
    for gate, output in outputs:
        for listener in listeners:
            listener(gate, output)


def forced_logits(gate: Gate) -> Forced:
    """Return the logits that are forced on ``gate`` now.

    Returns:
        A tensor that broadcasts to (N, G), one number for all gates, or None if nothing does.
    """
    for logits in reversed(_FORCED.values()):
        if gate in logits:
            return logits[gate]
    return None


def all_forced_logits(gates: Sequence[Gate]) -> list[Forced]:
    """Return what :func:`forced_logits` says of each gate, at once."""
    scopes = _FORCED.values()
    if not scopes:
        return [None] * len(gates)
    merged: dict[Gate, Tensor | float] = {}
    for logits in scopes:  # an inner statement wins
        merged.update(logits)
    return [merged.get(gate) for gate in gates]


def listening(listener: Listener) -> AbstractContextManager[None]:
    """Call ``listener(gate, output)`` for every gate that decides inside the statement."""
    return _LISTENERS.holding(listener)


def forcing(logits: Mapping[Gate, Tensor | float]) -> AbstractContextManager[None]:
    """Replace the logits of the given gates inside the statement; an inner statement wins."""
    return _FORCED.holding(logits)
