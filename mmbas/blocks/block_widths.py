"""Widths of a block's inner representations, and the channels among them that need no gate.

The standard networks have one width per stage. A statically reduced one (see
:mod:`mmbas.compress.reduction`) has its own in every block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BlockWidths:
    """Channels of a block's inner representations: one in a basic block, two in a bottleneck.

    Attributes:
        channels: Channels of each inner representation.
        always_open: Number of them, the first ones, that are open for every image.
    """

    channels: tuple[int, ...]
    always_open: tuple[int, ...]

    def gated(self, positions: Sequence[int]) -> BlockWidths:
        """The widths of the inner representations at ``positions`` alone, those with gates."""
        return BlockWidths(
            tuple(self.channels[i] for i in positions),
            tuple(self.always_open[i] for i in positions),
        )

    @property
    def always_open_gates(self) -> list[int]:
        """Gates that are always open, numbered through all inner representations."""
        gates: list[int] = []
        start = 0
        for channels, always_open in zip(self.channels, self.always_open, strict=True):
            gates += range(start, start + always_open)
            start += channels
        return gates


def as_widths(mid_channels: int | BlockWidths, *, num_inner: int) -> BlockWidths:
    """The widths of a block of ``num_inner`` inner representations; a number stands for each.

    Raises:
        ValueError: If the widths are those of another kind of block.
    """
    if isinstance(mid_channels, int):
        return BlockWidths((mid_channels,) * num_inner, (0,) * num_inner)
    if len(mid_channels.channels) != num_inner:
        raise ValueError(
            f"expected widths of {num_inner} inner representations, but got {mid_channels.channels}"
        )
    return mid_channels


def widths_of_blocks(
    block_widths: Sequence[Mapping[str, Any]] | None, standard: Sequence[int], *, num_inner: int
) -> list[BlockWidths]:
    """The widths of each block of a network.

    Args:
        block_widths: ``dict(channels=..., always_open=...)`` of each block in order, each entry a
            number or one number per inner representation; ``always_open`` is 0 by default. None
            gives the standard network.
        standard: Width of each block in the standard network.
        num_inner: Inner representations per block: 1 in basic blocks, 2 in bottlenecks.

    Raises:
        ValueError: If the widths do not fit the network.
    """
    if block_widths is None:
        return [as_widths(channels, num_inner=num_inner) for channels in standard]
    if len(block_widths) != len(standard):
        raise ValueError(
            f"expected block_widths for each of {len(standard)} blocks, but got {len(block_widths)}"
        )
    return [_parse(i, widths, num_inner) for i, widths in enumerate(block_widths)]


def _parse(index: int, widths: Mapping[str, Any], num_inner: int) -> BlockWidths:
    if "channels" not in widths or set(widths) - {"channels", "always_open"}:
        raise ValueError(
            f"expected block_widths[{index}] to be dict(channels=..., always_open=...), but got "
            f"{dict(widths)}"
        )
    channels = _numbers(widths["channels"], num_inner)
    always_open = _numbers(widths.get("always_open", 0), num_inner)
    if len(channels) != num_inner or len(always_open) != num_inner:
        raise ValueError(
            f"expected {num_inner} numbers (one per inner representation) in block_widths[{index}],"
            f" but got {dict(widths)}"
        )
    for total, num_open in zip(channels, always_open, strict=True):
        if not 0 <= num_open <= total or total < 1:
            raise ValueError(
                f"expected channels >= 1 and always_open from 0 to channels in "
                f"block_widths[{index}], but got {dict(widths)}"
            )
    return BlockWidths(channels, always_open)


def _numbers(value: int | Sequence[int], num_inner: int) -> tuple[int, ...]:
    return (value,) * num_inner if isinstance(value, int) else tuple(value)
