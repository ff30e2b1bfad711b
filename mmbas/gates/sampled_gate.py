"""Base of the gates whose training gates a sampler draws."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmbas.gates.gate import Gate
from mmbas.gates.samplers import BinaryConcrete, Sampler
from mmbas.registry import MODELS


class SampledGate(Gate):
    """A gate with any of the samplers of :mod:`mmbas.gates.samplers`.

    Args:
        num_gates: Number of gates, G.
        sampler: Config of the sampler, such as ``dict(type='mmbas.HardStep')``; None is
            :class:`mmbas.gates.BinaryConcrete`.
        temperature: Temperature of binary concrete gates where there is no ``sampler``.

    Raises:
        TypeError: If ``sampler`` is the config of something else.
    """

    def __init__(
        self, num_gates: int, sampler: dict[str, Any] | None, *, temperature: float = 2 / 3
    ) -> None:
        super().__init__(num_gates)
        built: Any = (
            BinaryConcrete(temperature=temperature) if sampler is None else MODELS.build(sampler)
        )
        if not isinstance(built, Sampler):
            raise TypeError(f"expected the config of a sampler of gates, but got {sampler}")
        self.sampler = built

    def sample(self, logits: Tensor) -> Tensor:
        """See :meth:`Gate.sample`."""
        gates: Tensor = self.sampler(logits, self.noise_scale)
        return gates

    @property
    def settings(self) -> dict[str, Tensor]:
        """See :attr:`Gate.settings`."""
        return {**super().settings, **self.sampler.settings}
