"""The finished list of operations for one image size, with the memory that it works in."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from mmbas.sliced.native.feature_maps import FeatureMap, Size, round_up, tap_offsets
from mmbas.sliced.native.library import LOOK_AHEAD, MAX_LANES, GridStruct, Kind, OpStruct, address
from mmbas.sliced.native.memory_sharing import place_maps
from mmbas.sliced.native.packing import PackedConv, PackedGate
from mmbas.sliced.native.steps import Draft, Step

MAX_LISTS = 2  # of one gate: a bottleneck's


@dataclass(frozen=True)
class Plan:
    """Data that the kernels need for one image size.

    Attributes:
        ops: Array of operations.
        workspace_floats: Memory of one worker, all zero at first.
        lists: Offset and stride of the lists of open channels in the workspace.
        pools: Offset and stride of each thread's sums of channels.
        output_shapes: (C, H, W) of each output.
        tensors: Kept alive for the pointers in ``ops``.
    """

    ops: ctypes.Array[OpStruct]
    workspace_floats: int
    lists: tuple[int, int]
    pools: tuple[int, int]
    output_shapes: list[tuple[int, int, int]]
    tensors: list[Tensor]


def finish_plan(draft: Draft, *, threads: int) -> Plan:
    """Place all memory of ``draft`` for at most ``threads`` threads per image."""
    list_stride = round_up(1 + draft.max_channels + LOOK_AHEAD, MAX_LANES)
    pools_offset = MAX_LISTS * list_stride
    pool_stride = draft.max_channels * MAX_LANES
    scratch = pools_offset + threads * pool_stride
    maps_offset = scratch + round_up(_scratch_floats(draft, threads), MAX_LANES)
    end = place_maps(draft, maps_offset)
    masks = draft.maps.masks()
    channels = torch.arange(draft.max_channels + LOOK_AHEAD, dtype=torch.int32, device="cpu")
    channels[draft.max_channels :] = 0
    tensors = [channels, *masks.values()]
    for step in draft.steps:
        step.op.scratch, step.op.all = scratch, address(channels, torch.int32)
        tensors += _fill(step, masks)
    return Plan(
        (OpStruct * len(draft.steps))(*(step.op for step in draft.steps)),
        end,
        (0, list_stride),
        (pools_offset, pool_stride),
        draft.output_shapes,
        tensors,
    )


def _scratch_floats(draft: Draft, threads: int) -> int:
    """Memory for gates and max pooling, of which one runs at a time."""
    gates = [step.op.in_channels + step.op.hidden for step in draft.steps]
    rows = [threads * (step.source.level.width + 16) for step in draft.steps if step.source]
    return max(gates + rows)


def _fill(step: Step, masks: dict[Size, Tensor]) -> list[Tensor]:
    """Write offsets, grids and pointers into an operation; returns tensors to keep alive."""
    op, source, target = step.op, step.source, step.target
    tensors: list[Tensor] = []
    if source is not None:
        op.in_offset, op.in_grid = source.offset, source.grid()
    if target is not None:
        op.out_offset, op.out_grid = target.offset, _target_grid(op, target)
        op.mask = address(masks[target.level.height, target.level.width], torch.int32)
    if isinstance(step.weights, PackedConv):
        assert target is not None
        offsets = tap_offsets(step.weights.conv, target.level)
        op.tap_offsets = address(offsets, torch.int64)
        op.weights, op.bias = _floats(step.weights.weights, step.weights.bias)
        tensors += [offsets, step.weights.weights, step.weights.bias]
    elif isinstance(step.weights, PackedGate):
        gate = step.weights
        op.weights, op.bias = _floats(gate.weights, gate.bias)
        op.weights2, op.bias2 = _floats(gate.weights2, gate.bias2)
        tensors += [gate.weights, gate.bias, gate.weights2, gate.bias2]
    return tensors


def _floats(weights: Tensor, bias: Tensor) -> tuple[int, int]:
    return address(weights, torch.float32), address(bias, torch.float32)


def _target_grid(op: OpStruct, target: FeatureMap) -> GridStruct:
    """Splitting writes phase by phase, everything else channel by channel."""
    return target.grid(phase_wise=op.kind == Kind.SPLIT)
