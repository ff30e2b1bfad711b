"""Collects what gates decide and replaces their logits, for the code inside a ``with`` statement.

Both are kept in a context variable, none of it on the modules. So the threads of a program do not
see each other, statements nest, and copies of a model carry nothing along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from mmbas.gates.gate_output import GateOutput

# A gate is any module here: what a gate is stands in gate.py, which needs this file.
Listener = Callable[[Any, GateOutput], None]
Forced = Tensor | float | None


@dataclass(frozen=True)
class _Scope:
    """State of the running code.

    Attributes:
        listeners: Called with each gate and its output.
        forced: Logits, or one number for all of them, by gate.
    """

    listeners: tuple[Listener, ...] = ()
    forced: Mapping[Any, Tensor | float] = field(default_factory=dict)


_NOTHING = _Scope()
_SCOPE: ContextVar[_Scope] = ContextVar("mmbas_gates", default=_NOTHING)


def is_recording() -> bool:
    """Tell whether any listener wants the decisions of gates now."""
    return bool(_SCOPE.get().listeners)


def record(gate: nn.Module, output: GateOutput) -> None:
    """Tell all who listen what a gate has decided; what runs a gate calls this once per call."""
    for listener in _SCOPE.get().listeners:
        listener(gate, output)


def forced_logits(gate: nn.Module) -> Forced:
    """Return the logits that are forced on ``gate`` now.

    Returns:
        A tensor that broadcasts to (N, G), one number for all gates, or None if nothing does.
    """
    return _SCOPE.get().forced.get(gate)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call ``listener(gate, output)`` for every gate that decides inside the statement."""
    scope = _SCOPE.get()
    token = _SCOPE.set(_Scope((*scope.listeners, listener), scope.forced))
    try:
        yield
    finally:
        _SCOPE.reset(token)


@contextmanager
def forcing(logits: Mapping[Any, Tensor | float]) -> Iterator[None]:
    """Replace the logits of the given gates inside the statement; an inner statement wins."""
    scope = _SCOPE.get()
    token = _SCOPE.set(_Scope(scope.listeners, {**scope.forced, **logits}))
    try:
        yield
    finally:
        _SCOPE.reset(token)
