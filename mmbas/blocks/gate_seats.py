"""Places where the gates of a residual block stand, those of all methods in one table.

A gate decides, a seat says what its decision multiplies: output channels of a convolution, the
whole residual branch or block, or tiles of the feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from mmbas.blocks.block_widths import BlockWidths

# Inner representations that are gated, by the name of the placement; None stands for all of them.
_INNER: dict[str, tuple[int, ...] | None] = {
    "both": None,
    "conv1": (0,),
    "conv2": (1,),
    "out": (),
    "all": None,
    "shared": None,
    "tiles": None,
    "branch": (),
    "block": (),
}


@dataclass(frozen=True)
class GateSeats:
    """Parts of a block that each of its gates multiplies.

    Attributes:
        num_gates: Number of gates, G.
        outputs: Gates at the output channels of each convolution of the branch; None if ungated.
        branch: The one gate of the whole residual branch; None if there is none.
        tiles: Gates of the tiles of the block's feature maps, row by row; None if there are none.
        grid: Tiles along the height, and along the width.
        merge: ``'branch'`` for ``relu(shortcut + gate * branch)``, or ``'block'`` for
            ``gate * relu(shortcut + branch) + (1 - gate) * shortcut``.
        always_open: Gates that are open for every image.
    """

    num_gates: int
    outputs: tuple[slice | None, ...]
    branch: slice | None = None
    tiles: slice | None = None
    grid: int = 0
    merge: str = "branch"
    always_open: tuple[int, ...] = ()

    @property
    def inner(self) -> list[slice | None]:
        """Gates of each inner representation."""
        return list(self.outputs[:-1])

    @property
    def are_inner(self) -> bool:
        """Tell whether all gates stand at inner channels, each channel having its own."""
        others = (self.outputs[-1], self.branch, self.tiles)
        used = [seat for seat in self.inner if seat is not None]
        distinct = len({(seat.start, seat.stop) for seat in used}) == len(used)
        return distinct and all(seat is None for seat in others)

    @property
    def switches(self) -> str:
        """Word for what the gates switch, in the plural."""
        if self.branch is not None:
            return "blocks"
        return "channels" if self.tiles is None else "tiles and channels"


def gate_seats(
    gate_positions: str, widths: BlockWidths, out_channels: int, *, grid: int = 0
) -> GateSeats:
    """The seats of a placement.

    ``'both'`` gates all inner representations, ``'conv1'`` and ``'conv2'`` one of them, ``'out'``
    the output channels of the last convolution, ``'all'`` those and all inner representations.
    ``'shared'`` gates both inner representations of a bottleneck by the same gates. ``'branch'``
    has one gate for the residual branch, ``'block'`` one for the whole block but its shortcut.
    ``'tiles'`` gates tiles of the feature maps and all inner representations.

    Args:
        gate_positions: Name of the placement.
        widths: Widths of the inner representations.
        out_channels: Channels of the block's output.
        grid: Tiles along the height and along the width, for ``'tiles'``.

    Raises:
        ValueError: If the block cannot have that placement.
    """
    _check(gate_positions, widths, grid)
    chosen = _INNER[gate_positions]
    gated = range(len(widths.channels)) if chosen is None else chosen
    if gate_positions in ("branch", "block"):
        nothing = (None,) * (len(widths.channels) + 1)
        return GateSeats(1, nothing, branch=slice(0, 1), merge=gate_positions)
    start = grid**2 if gate_positions == "tiles" else 0
    tiles = slice(0, start) if start else None
    outputs: list[slice | None] = []
    for i, channels in enumerate(widths.channels):
        first = 0 if gate_positions == "shared" else start
        outputs.append(slice(first, first + channels) if i in gated else None)
        start = first + channels if i in gated else start
    outputs.append(None)
    if gate_positions in ("out", "all"):
        outputs[-1] = slice(start, start + out_channels)
        start += out_channels
    always_open = tuple(widths.gated(list(gated)).always_open_gates)
    return GateSeats(start, tuple(outputs), tiles=tiles, grid=grid, always_open=always_open)


def _check(gate_positions: str, widths: BlockWidths, grid: int) -> None:
    num_inner = len(widths.channels)
    known = [name for name in _INNER if num_inner > 1 or name not in ("conv2", "shared")]
    if gate_positions not in known:
        kind = "a basic block, which has one inner representation" if num_inner == 1 else "a block"
        raise ValueError(
            f"expected gate_positions in {known} in {kind}, but got {gate_positions!r}"
        )
    if gate_positions == "shared" and len(set(widths.channels)) > 1:
        raise ValueError(
            "expected inner representations of one width for gate_positions='shared', but got "
            f"{widths.channels}"
        )
    if gate_positions not in ("both", "conv1", "conv2") and any(widths.always_open):
        raise ValueError(
            f"expected no channels that are always open with gate_positions={gate_positions!r}, "
            f"but got {widths.always_open}"
        )
    if (gate_positions == "tiles") != (grid > 0):
        raise ValueError(
            "expected gate_grid, tiles along each axis, with gate_positions='tiles' and with no "
            f"other, but got {grid} with {gate_positions!r}"
        )


def tile_mask(gates: Tensor, grid: int, size: Sequence[int]) -> Tensor:
    """Gates of square-numbered tiles as a mask of feature maps.

    Args:
        gates: Shape (N, grid * grid), the tiles row by row.
        grid: Tiles along the height and along the width.
        size: Height and width of the feature maps.

    Returns:
        Shape (N, 1, H, W).
    """
    maps = gates.view(-1, 1, grid, grid)
    return F.interpolate(maps, size=(int(size[0]), int(size[1])), mode="nearest")


def check_tiles(grid: int, size: Sequence[int]) -> None:
    """Refuse feature maps that tiles of one size do not fill.

    Raises:
        ValueError: If the height or the width is no multiple of the number of tiles.
    """
    if size[0] % grid or size[1] % grid:
        raise ValueError(
            f"expected feature maps of a height and width that gate_grid={grid} divides, but got "
            f"{tuple(size)}; choose another image size or grid"
        )
