"""What a plan in float32 consists of, mirrored from kernels/plan.h to run one operation alone."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor, nn

from mmbas.sliced.native.library import get_library
from mmbas.sliced.native.structures import CallStruct, Kernels

ROWS, MAX_LANES, LOOK_AHEAD, ALL_OPEN = 6, 16, 8, -1
LANES = {Kernels.GENERIC: 4, Kernels.AVX2: 8, Kernels.AVX512: 16}


class Kind(IntEnum):
    SPLIT = 0
    CONV = 1
    MAX_POOL = 2
    AVG_POOL = 3
    SUBSAMPLE = 4
    GATE = 5
    OUTPUT = 6
    FINISH = 7
    CLEAR = 8


class GridStruct(Structure):
    _fields_ = tuple((name, c_int32) for name in ("height", "width", "pitch", "channel_stride"))


class OpStruct(Structure):
    _fields_ = (
        *((name, c_int32) for name in ("kind", "in_channels", "out_channels")),
        *((name, c_int32) for name in ("in_list", "out_list", "relu", "accumulate", "pool")),
        *((name, c_int32) for name in ("guard", "stride", "taps", "packed", "hidden", "tensor")),
        ("align_corners", c_int32),
        ("num_lists", c_int32),
        ("list_starts", c_int32 * 2),
        ("list_ends", c_int32 * 2),
        ("in_grid", GridStruct),
        ("out_grid", GridStruct),
        *((name, c_int64) for name in ("in_offset", "out_offset", "scratch")),
        *((name, c_void_p) for name in ("all", "tap_offsets", "mask")),
        *((name, c_void_p) for name in ("weights", "bias", "weights2", "bias2")),
    )


class LayoutStruct(Structure):
    _fields_ = tuple(
        (name, c_int64) for name in ("lists", "list_stride", "pools", "pool_stride", "total")
    )


class RunStruct(Structure):
    _fields_ = (
        ("clock", c_void_p),
        ("ops", POINTER(OpStruct)),
        ("num_ops", c_int32),
        ("layout", LayoutStruct),
        ("call", POINTER(CallStruct)),
        ("workspace", c_void_p),
        *((name, c_int32) for name in ("image", "rank", "size")),
    )


def run_plan(kernels: Kernels, run: RunStruct) -> None:
    """Run operations on one image, one thread."""
    function = c_void_p.in_dll(get_library(), f"mmbas_run_{kernels.name.lower()}").value
    CFUNCTYPE(None, POINTER(RunStruct))(function)(ctypes.byref(run))


def round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


@dataclass
class Level:
    """The grid that all feature maps of one size share."""

    height: int
    width: int
    pad: int = 0

    @property
    def pitch(self) -> int:
        return self.width + self.pad

    @property
    def plane_floats(self) -> int:
        padded = (self.height + self.pad) * self.pitch + self.pad
        written = (self.height - 1) * self.pitch + self.width + MAX_LANES
        return round_up(max(padded, written), MAX_LANES)

    @property
    def lead(self) -> int:
        return round_up(self.pad * (self.pitch + 1), MAX_LANES)

    def mask(self) -> Tensor:
        mask = torch.zeros(self.height, self.pitch, dtype=torch.int32)
        mask[:, : self.width] = -1
        return torch.cat([mask.flatten(), torch.zeros(MAX_LANES, dtype=torch.int32)])


@dataclass
class FeatureMap:
    """Memory for planes: pixel (0, 0) of channel 0 is at ``offset``."""

    level: Level
    phases: int
    channels: int
    offset: int

    @property
    def num_floats(self) -> int:
        planes = self.channels * self.phases * self.level.plane_floats
        return round_up(2 * self.level.lead + planes + 5 * MAX_LANES, MAX_LANES)

    def grid(self, *, phase_wise: bool = False) -> GridStruct:
        planes = 1 if phase_wise else self.phases
        level = self.level
        return GridStruct(level.height, level.width, level.pitch, planes * level.plane_floats)


def tap_offsets(conv: nn.Conv2d, level: Level) -> Tensor:
    """Shift of each tap into the input, in floats."""
    stride, dilation, padding = conv.stride[0], conv.dilation[0], int(conv.padding[0])
    shifts = [divmod(tap * dilation - padding, stride) for tap in range(conv.kernel_size[0])]
    offsets = [
        (stride * row_phase + column_phase) * level.plane_floats + row * level.pitch + column
        for row, row_phase in shifts
        for column, column_phase in shifts
    ]
    return torch.tensor(offsets, dtype=torch.int64)


def packed_weights(conv: nn.Conv2d) -> Tensor:
    """Weights in blocks [O / ROWS][I][taps][ROWS], zeros for missing outputs."""
    missing = -conv.out_channels % ROWS
    padded = nn.functional.pad(conv.weight.flatten(2), (0, 0, 0, 0, 0, missing))
    return padded.unflatten(0, (-1, ROWS)).permute(0, 2, 3, 1).contiguous()
