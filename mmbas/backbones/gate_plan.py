"""The blocks of a network that have a gate, and its placement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmbas.backbones.resnet_options import warn_without_effect

Config = dict[str, Any]


class GatePlan:
    """Arguments of the blocks that concern their gates.

    Args:
        gate: Config of the gates; None gives the plain network.
        gate_positions: Placement, see :func:`mmbas.blocks.gate_seats`.
        gate_grid: Tiles along each axis in the blocks of each stage; empty where none are gated.
        plain_blocks: Numbers of the blocks without gates, counted through all stages from 0.
    """

    def __init__(
        self,
        gate: Config | None,
        gate_positions: str,
        gate_grid: Sequence[int],
        plain_blocks: Sequence[int],
    ) -> None:
        self.gate = gate
        self.gate_positions = gate_positions
        self.gate_grid = tuple(gate_grid)
        self.plain_blocks = frozenset(plain_blocks)

    def check(self, *, num_blocks: int, num_stages: int) -> None:
        """Check that the plan fits a network.

        Raises:
            ValueError: If it names blocks that there are not, or lacks the tiles of a stage.
        """
        if not all(0 <= block < num_blocks for block in self.plain_blocks):
            raise ValueError(
                f"expected plain_blocks from 0 to {num_blocks - 1}, but got "
                f"{sorted(self.plain_blocks)}"
            )
        if self.gate_grid and len(self.gate_grid) < num_stages:
            raise ValueError(f"expected gate_grid of {num_stages} stages, but got {self.gate_grid}")
        if self.gate is None and (self.plain_blocks or self.gate_grid):
            warn_without_effect("plain_blocks or gate_grid", "there are no gates", depth=5)
        if self.gate is not None and len(self.plain_blocks) == num_blocks:
            raise ValueError(
                "expected a block with a gate, but got plain_blocks of all; set gate=None"
            )

    def of_block(self, block: int, stage: int) -> Config:
        """The gate arguments of a block, by the names that blocks have for them."""
        return dict(
            gate=None if block in self.plain_blocks else self.gate,
            gate_positions=self.gate_positions,
            gate_grid=self.gate_grid[stage] if self.gate_grid else 0,
        )
