"""Parts that the gates of a network share, such as a memory from block to block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mmbas.gates.gate import Gate, linear_module_macs
from mmbas.gates.sampled_gate import SampledGate
from mmbas.gates.scoped import Scoped

_PASSES: Scoped[tuple[Gater, Any]] = Scoped("mmbas_passes")


class Gater(nn.Module):
    """Base of what the gates of one network share.

    A network begins each forward pass with :meth:`begin`; while it runs, its gates read the result
    by :func:`state_of_pass`. Nothing of a pass is left on a module.
    """

    def connect(self, gates: Sequence[Gate]) -> None:
        """Hear, once, of all gates in the order of the blocks."""
        raise NotImplementedError

    def init_weights(self) -> None:
        """Initialise the gater's own weights."""
        raise NotImplementedError

    def begin(self, images: Tensor) -> Any:
        """State of a forward pass for ``images``, shape (N, 3, H, W)."""
        raise NotImplementedError

    def module_macs(self, size: tuple[int, int]) -> dict[str, int]:
        """MACs of the gater's layers for one image of height and width ``size``, by their names.

        Linear layers count once; a gater that does more overrides this method.
        """
        return linear_module_macs(self)


class SharingGate(SampledGate):
    """Base of the gates that decide by what their network's gater has for them.

    Args:
        num_gates: Number of gates, G.
        sampler: Config of the sampler; None is binary concrete.
    """

    def __init__(self, num_gates: int, sampler: dict[str, Any] | None) -> None:
        super().__init__(num_gates, sampler)
        self.position = 0
        self._gater: tuple[Gater, ...] = ()  # in a tuple, so that it is no child

    def join(self, gater: Gater, position: int) -> None:
        """Belong to ``gater`` from now on, at a position that the gater gives a meaning."""
        self._gater = (gater,)
        self.position = position

    @property
    def gater(self) -> Gater:
        """The gater of the network.

        Raises:
            RuntimeError: If the network has none.
        """
        if not self._gater:
            raise RuntimeError(
                f"expected a network whose config has a gater for its {type(self).__name__}, but "
                "got none; add gater=dict(type=...) to the backbone"
            )
        return self._gater[0]


@contextmanager
def beginning(gater: Gater | None, images: Tensor) -> Iterator[None]:
    """Let the gates that decide inside the statement read the gater's state for ``images``."""
    if gater is None:
        yield
        return
    with _PASSES.holding((gater, gater.begin(images))):
        yield


def state_of_pass(gater: Gater | None) -> Any:
    """State of the forward pass that goes on now.

    Raises:
        RuntimeError: If there is none: the gate runs outside of its network.
    """
    for owner, state in reversed(_PASSES.values()):
        if owner is gater:
            return state
    raise RuntimeError(
        "expected a gate to decide in a forward pass of its network, whose gater it shares, but "
        "got a call from outside; run the whole network, with gater=dict(...) in its config"
    )


def is_gate_parameter(name: str) -> bool:
    """Tell whether a parameter or module belongs to gates or to what they share, by its name."""
    return bool({"gate", "gater"} & set(name.split(".")))
