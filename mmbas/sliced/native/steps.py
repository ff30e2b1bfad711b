"""Derives the steps that the kernels run from a backbone and an image size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from mmbas.backbones.description import Block, Description, Shortcut
from mmbas.gates import Gate
from mmbas.sliced.native.feature_maps import FeatureMap, FeatureMaps, Size, tap_shifts
from mmbas.sliced.native.library import GridStruct, Kind, OpStruct
from mmbas.sliced.native.packing import PackedConv, PackedGate, PackedWeights

ALL_OPEN = -1


@dataclass
class Step:
    """An operation before its feature maps have a place.

    Attributes:
        op: Operation for the kernels; offsets and grids are filled in at the end.
        source: Feature map that is read; None for the image and for a gate.
        target: Feature map that is written; None for an output tensor and for a gate.
        weights: Weights of a convolution or gate.
    """

    op: OpStruct
    source: FeatureMap | None = None
    target: FeatureMap | None = None
    weights: PackedConv | PackedGate | None = None


@dataclass
class Value:
    """A feature map at one point of the network.

    Attributes:
        map: Its memory.
        channels: All of them, open or not.
        open_list: List that tells the open ones.
        step: Step that wrote it.
    """

    map: FeatureMap
    channels: int
    step: Step
    open_list: int = ALL_OPEN

    @property
    def size(self) -> Size:
        """(H, W)."""
        return self.map.level.height, self.map.level.width


@dataclass
class Draft:
    """The steps for one image size.

    Attributes:
        maps: Memory that they use.
        steps: Steps in order.
        output_shapes: (C, H, W) of each output.
        max_channels: Largest number of channels or gates anywhere.
    """

    maps: FeatureMaps = field(default_factory=FeatureMaps)
    steps: list[Step] = field(default_factory=list)
    output_shapes: list[tuple[int, int, int]] = field(default_factory=list)
    max_channels: int = 1

    def add(self, step: Step) -> Step:
        """Append a step."""
        self.steps.append(step)
        self.max_channels = max(self.max_channels, step.op.in_channels, step.op.out_channels)
        return step


def draft_steps(description: Description, weights: PackedWeights, size: Size) -> Draft:
    """The steps that run a backbone on images of ``size`` (H, W)."""
    draft = Draft()
    writer = _Writer(description, weights, draft)
    x = writer.stem(size)
    for index, blocks in enumerate(description.stages):
        for block in blocks:
            x = writer.block(block, x, role=f"stage {index}")
        if index in description.out_indices:
            writer.output(x)
    return draft


class _Writer:
    def __init__(self, description: Description, weights: PackedWeights, draft: Draft) -> None:
        self.description = description
        self.weights = weights
        self.draft = draft
        self.num_gates = 0

    def stem(self, size: Size) -> Value:
        stem = [layer.conv for layer in self.description.stem]
        x = self._image(stem[0], size)
        for i, conv in enumerate(stem):
            x = self._conv(conv, x, role=f"stem {i}", relu=True)
        return self._max_pool(x) if self.description.max_pool else x

    def block(self, block: Block, x: Value, *, role: str) -> Value:
        lists = [ALL_OPEN] * len(block.gated)
        if block.gate is not None:
            lists = self._gate(block.gate, block.gated, x)
        inner = x
        # The residual branch reads x before the shortcut's sum may take its place.
        for i, (conv, open_list) in enumerate(zip(block.convs[:-1], lists, strict=True)):
            inner = self._conv(conv, inner, role=f"inner {i}", relu=True, open_list=open_list)
        out = x if block.shortcut is None else self._shortcut(block.shortcut, x, role)
        return self._conv(block.convs[-1], inner, into=out, relu=True)

    def output(self, x: Value) -> None:
        op = OpStruct(
            kind=Kind.OUTPUT, in_channels=x.channels, tensor=len(self.draft.output_shapes)
        )
        self.draft.add(Step(op, source=x.map))
        self.draft.output_shapes.append((x.channels, *x.size))

    def _image(self, conv: nn.Conv2d, size: Size) -> Value:
        channels, stride = conv.in_channels, conv.stride[0]
        grid = GridStruct(*size, size[1], size[0] * size[1])
        op = OpStruct(
            kind=Kind.SPLIT, in_channels=channels, in_list=ALL_OPEN, stride=stride, in_grid=grid
        )
        target = self._split_map(conv, channels, size)
        return Value(target, channels, self.draft.add(Step(op, target=target)))

    def _split_map(self, conv: nn.Conv2d, channels: int, size: Size) -> FeatureMap:
        """Memory for the input of ``conv``, of its output's size."""
        phases_of = size if conv.stride[0] == 2 else None
        return self.draft.maps.get("input", channels, conv_size(conv, size), phases_of=phases_of)

    def _split(self, conv: nn.Conv2d, x: Value) -> Value:
        """The phases of ``x`` that a convolution of stride 2 reads."""
        op = OpStruct(
            kind=Kind.SPLIT,
            in_channels=x.channels,
            in_list=x.open_list,
            stride=2,
            tensor=-1,
        )
        target = self._split_map(conv, x.channels, x.size)
        step = self.draft.add(Step(op, source=x.map, target=target))
        return Value(target, x.channels, step, x.open_list)

    def _conv(
        self,
        conv: nn.Conv2d,
        x: Value,
        *,
        role: str = "",
        into: Value | None = None,
        relu: bool = False,
        open_list: int = ALL_OPEN,
    ) -> Value:
        """Convolve ``x`` to a map of that role, or add to ``into`` in place."""
        if conv.stride[0] == 2 and x.map.phases == 1:
            whole = conv.kernel_size[0] > 1 or x.open_list != ALL_OPEN
            x = self._split(conv, x) if whole else self._subsample(x, x.channels, role="shortcut")
        target = self._map(role, conv.out_channels, x.size) if into is None else into.map
        weights = self.weights.of_conv(conv)
        target.level.pad = max(target.level.pad, _halo(conv))
        op = OpStruct(
            kind=Kind.CONV,
            in_channels=conv.in_channels,
            out_channels=conv.out_channels,
            in_list=x.open_list,
            out_list=open_list,
            relu=relu,
            accumulate=into is not None,
            stride=conv.stride[0],
            taps=conv.kernel_size[0] ** 2,
            packed=weights.packed,
        )
        step = self.draft.add(Step(op, x.map, target, weights))
        return Value(target, conv.out_channels, step, open_list)

    def _map(self, role: str, channels: int, size: Size) -> FeatureMap:
        return self.draft.maps.get(role, channels, size)

    def _pool(self, kind: Kind, x: Value, stride: int, *, role: str) -> Value:
        op = OpStruct(kind=kind, in_channels=x.channels, out_channels=x.channels, stride=stride)
        target = self._map(role, x.channels, _strided(x.size, stride))
        return Value(target, x.channels, self.draft.add(Step(op, x.map, target)))

    def _max_pool(self, x: Value) -> Value:
        x.map.level.pad = max(x.map.level.pad, 1)
        return self._pool(Kind.MAX_POOL, x, 2, role="max pool")

    def _subsample(self, x: Value, channels: int, *, role: str) -> Value:
        op = OpStruct(kind=Kind.SUBSAMPLE, in_channels=x.channels, out_channels=channels, stride=2)
        target = self._map(role, channels, _strided(x.size, 2))
        return Value(target, channels, self.draft.add(Step(op, x.map, target)))

    def _shortcut(self, shortcut: Shortcut, x: Value, role: str) -> Value:
        if shortcut.layer is None:
            return self._subsample(x, x.channels + shortcut.num_new_channels, role=role)
        pooling = 1 if shortcut.pool is None else shortcut.pool.kernel_size
        assert isinstance(pooling, int)  # what is covered
        if pooling > 1:
            x = self._pool(Kind.AVG_POOL, x, pooling, role="shortcut")
        return self._conv(shortcut.layer.conv, x, role=role)

    def _gate(self, gate: Gate, gated: Sequence[slice | None], x: Value) -> list[int]:
        """List that holds the open channels after each convolution but the last."""
        weights = self.weights.of_gate(gate)
        x.step.op.pool = True
        op = OpStruct(
            kind=Kind.GATE,
            in_channels=x.channels,
            out_channels=gate.num_gates,
            hidden=len(weights.bias),
            tensor=self.num_gates,
        )
        self.num_gates += 1
        lists = []
        for part in gated:
            lists.append(ALL_OPEN if part is None else op.num_lists)
            if part is not None:
                start, end, _ = part.indices(gate.num_gates)
                op.list_starts[op.num_lists], op.list_ends[op.num_lists] = start, end
                op.num_lists += 1
        self.draft.add(Step(op, source=x.map, weights=weights))
        return lists


def conv_size(conv: nn.Conv2d, size: Size) -> Size:
    """(H, W) of the output for an input of ``size``; the paddings that are covered keep it."""
    return _strided(size, conv.stride[0])


def _strided(size: Size, stride: int) -> Size:
    return -(-size[0] // stride), -(-size[1] // stride)


def _halo(conv: nn.Conv2d) -> int:
    """Pixels that a convolution reads beyond the borders of its input, or of a phase of it."""
    return max(abs(shift) for shift, _ in tap_shifts(conv))
