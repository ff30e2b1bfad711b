"""Where the padded planes of feature maps lie in the workspace; the layout is drawn in plan.h."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmbas.sliced.native.library import MAX_LANES, GridStruct

Size = tuple[int, int]


def round_up(number: int, multiple: int) -> int:
    """The next multiple."""
    return -(-number // multiple) * multiple


@dataclass
class Level:
    """The grid that all feature maps of one size share.

    Attributes:
        height: Rows.
        width: Columns.
        pad: Zeros around the pixels, as many as the widest convolution needs.
    """

    height: int
    width: int
    pad: int = 0

    @property
    def pitch(self) -> int:
        """Positions from row to row."""
        return self.width + self.pad

    @property
    def plane_floats(self) -> int:
        """Positions from channel to channel; the padding between two planes is shared."""
        padded = (self.height + self.pad) * self.pitch + self.pad
        written = (self.height - 1) * self.pitch + self.width + MAX_LANES
        return round_up(max(padded, written), MAX_LANES)

    @property
    def lead(self) -> int:
        """Positions that a convolution reads before the first pixel."""
        return round_up(self.pad * (self.pitch + 1), MAX_LANES)

    def mask(self) -> Tensor:
        """Per position of a plane: all bits set (-1) if it is a pixel, else 0; int32."""
        mask = torch.zeros(self.height, self.pitch, dtype=torch.int32, device="cpu")
        mask[:, : self.width] = -1
        slack = torch.zeros(MAX_LANES, dtype=torch.int32, device="cpu")
        return torch.cat([mask.flatten(), slack])


@dataclass
class FeatureMap:
    """Memory for the planes of one or, in turns, several feature maps.

    Attributes:
        level: Their size.
        phases: Planes per channel: 4 for the input of a convolution of stride 2.
        channels: Most channels that it holds.
        offset: Place of pixel (0, 0) of channel 0, in floats from the workspace; set at the end.
    """

    level: Level
    phases: int
    channels: int = 0
    offset: int = -1

    @property
    def num_floats(self) -> int:
        """All of its memory: what convolutions read before and behind the planes included."""
        planes = self.channels * self.phases * self.level.plane_floats
        return round_up(2 * self.level.lead + planes + 5 * MAX_LANES, MAX_LANES)

    @property
    def start(self) -> int:
        """Where its memory begins, in floats from the workspace."""
        return self.offset - self.level.lead

    def place(self, start: int) -> None:
        """Let its memory begin there."""
        self.offset = start + self.level.lead

    def grid(self, *, phase_wise: bool = False) -> GridStruct:
        """Struct for the kernels; a phase counts as a channel on request."""
        planes = 1 if phase_wise else self.phases
        level = self.level
        return GridStruct(level.height, level.width, level.pitch, planes * level.plane_floats)


class FeatureMaps:
    """All feature maps of a network at one image size."""

    def __init__(self) -> None:
        self._levels: dict[Size, Level] = {}
        self._maps: dict[tuple[object, ...], FeatureMap] = {}

    def get(
        self, role: str, channels: int, size: Size, *, phases_of: Size | None = None
    ) -> FeatureMap:
        """Memory for ``channels`` planes of ``size`` (H, W), shared by all maps of that role.

        Args:
            role: Maps of one role are never needed at the same time.
            channels: Number of channels.
            size: (H, W), of one phase if there are four.
            phases_of: Size of the map that is split in four phases. Maps of different sizes leave
                different parts of the phases unwritten, and those must stay zero.
        """
        level = self._levels.setdefault(size, Level(*size))
        key = (role, size, phases_of)
        phases = 1 if phases_of is None else 4
        feature_map = self._maps.setdefault(key, FeatureMap(level, phases))
        feature_map.channels = max(feature_map.channels, channels)
        return feature_map

    def all(self) -> list[FeatureMap]:
        """All of them."""
        return list(self._maps.values())

    def masks(self) -> dict[Size, Tensor]:
        """The mask of each size."""
        return {size: level.mask() for size, level in self._levels.items()}


def tap_offsets(conv: nn.Conv2d, level: Level) -> Tensor:
    """Shift of each tap of ``conv`` into its input, in floats; int64.

    Args:
        conv: Convolution of stride 1, or of stride 2 with an input of four phases.
        level: Level of the output.
    """
    shifts = tap_shifts(conv)
    offsets = [
        (conv.stride[0] * row_phase + column_phase) * level.plane_floats
        + row * level.pitch
        + column
        for row, row_phase in shifts
        for column, column_phase in shifts
    ]
    return torch.tensor(offsets, dtype=torch.int64, device="cpu")


def tap_shifts(conv: nn.Conv2d) -> list[Size]:
    """Shift within a phase, and the phase, for the taps of one row or column."""
    size, stride, dilation = conv.kernel_size[0], conv.stride[0], conv.dilation[0]
    padding = int(conv.padding[0])
    return [divmod(tap * dilation - padding, stride) for tap in range(size)]
