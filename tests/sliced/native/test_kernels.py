"""Each kernel alone, as a plan of one operation, against the plainest way to write it."""

import random
from ctypes import POINTER, c_void_p, cast, pointer

import pytest
import torch
from sliced.native.plan_structures import (
    ALL_OPEN,
    LANES,
    LOOK_AHEAD,
    MAX_LANES,
    FeatureMap,
    GridStruct,
    Kind,
    LayoutStruct,
    Level,
    OpStruct,
    RunStruct,
    packed_weights,
    run_plan,
    tap_offsets,
)
from torch import nn
from torch.nn import functional as F

from mmbas.sliced.native.build import BuildError
from mmbas.sliced.native.library import available
from mmbas.sliced.native.structures import CallStruct

LIST_STRIDE = 128
POOLS = 2 * LIST_STRIDE
MAX_CHANNELS = 64
SCRATCH = POOLS + MAX_CHANNELS * MAX_LANES
MAPS = SCRATCH + 4096
FLOATS = 1 << 21


def _available():
    try:
        return available(torch.float32)
    except BuildError:
        return []


pytestmark = pytest.mark.skipif(not _available(), reason="needs a C++ compiler")


@pytest.fixture(params=_available(), ids=lambda each: each.name.lower())
def kernels(request):
    return request.param


@pytest.fixture(params=range(6))
def rng(request):
    torch.manual_seed(request.param)
    return random.Random(request.param)


class Workspace:
    """Memory with lists of open channels and feature maps in it, one thread's."""

    def __init__(self, kernels):
        self.kernels = kernels
        memory = torch.zeros(FLOATS + 16)
        self.memory = memory[-memory.data_ptr() % 64 // 4 :][:FLOATS]
        self.end = MAPS
        self.kept = []

    def keep(self, tensor):
        assert tensor.is_contiguous()
        self.kept.append(tensor)
        return tensor.data_ptr()

    def place(self, channels, level, phases=1):
        made = FeatureMap(level, phases, channels, self.end + level.lead)
        self.end += made.num_floats
        assert self.end <= FLOATS
        return made

    def planes(self, feature_map, num_planes):
        """A view of the pixels, shape (planes, H, W)."""
        level = feature_map.level
        strides = (level.plane_floats, level.pitch, 1)
        shape = (num_planes, level.height, level.width)
        return self.memory.as_strided(
            shape, strides, self.memory.storage_offset() + feature_map.offset
        )

    def set_list(self, index, is_open):
        """Fill a list of open channels; returns its number."""
        channels = is_open.nonzero()[:, 0].int()
        words = self.memory.view(torch.int32)[index * LIST_STRIDE :]
        words[0] = len(channels)
        words[1 : 1 + len(channels)] = channels
        words[1 + len(channels) :][:LOOK_AHEAD] = 0
        return index

    def get_list(self, index):
        words = self.memory.view(torch.int32)[index * LIST_STRIDE :]
        return words[1 : 1 + int(words[0])].tolist()

    def pools(self, channels):
        return self.memory[POOLS:][: channels * MAX_LANES]

    def run(self, op, *, image=None, output=None, logits=None, forced=None):
        everything = torch.arange(MAX_CHANNELS + LOOK_AHEAD, dtype=torch.int32)
        op.all, op.scratch = self.keep(everything), SCRATCH

        def pointers(tensor):
            return cast(
                (c_void_p * 1)(None if tensor is None else self.keep(tensor)), POINTER(c_void_p)
            )

        call = CallStruct(
            images=None if image is None else self.keep(image),
            num_images=1,
            num_threads=1,
            outputs=pointers(output),
            logits=pointers(logits),
            forced=pointers(forced),
        )
        run = RunStruct(
            ops=pointer(op),
            num_ops=1,
            layout=LayoutStruct(0, LIST_STRIDE, POOLS, MAX_CHANNELS * MAX_LANES, FLOATS),
            call=pointer(call),
            workspace=self.keep(self.memory),
            size=1,
        )
        run_plan(self.kernels, run)


def random_size(rng):
    return rng.randint(1, 21), rng.randint(1, 37)


def halved(size):
    return -(-size[0] // 2), -(-size[1] // 2)


def phases_of(x):
    """The four phases of each channel, padded with zeros to one size: (4 C, H', W')."""
    height, width = halved(x.shape[1:])
    x = F.pad(x, (0, 2 * width - x.shape[2], 0, 2 * height - x.shape[1]))
    return torch.stack([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=1).flatten(0, 1)


@pytest.mark.parametrize("stride", [1, 2])
def test_split(kernels, rng, stride):
    x = torch.randn(rng.randint(1, 5), *random_size(rng))
    size = tuple(x.shape[1:])
    work = Workspace(kernels)
    level = Level(*(size if stride == 1 else halved(size)), pad=1)
    target = work.place(len(x), level, stride**2)
    op = OpStruct(kind=Kind.SPLIT, in_channels=len(x), in_list=ALL_OPEN, stride=stride)
    op.in_grid = GridStruct(*size, size[1], size[0] * size[1])
    op.out_offset, op.out_grid = target.offset, target.grid(phase_wise=True)
    work.run(op, image=x)
    expected = x if stride == 1 else phases_of(x)
    assert torch.equal(work.planes(target, len(expected)), expected)


def random_conv(rng):
    kernel, stride = rng.choice([1, 3, 7]), rng.choice([1, 2])
    dilation = rng.choice([1, 2]) if kernel == 3 else 1
    return nn.Conv2d(
        rng.randint(1, 20), rng.randint(1, 20), kernel, stride, (kernel // 2) * dilation, dilation
    ).requires_grad_(False)


@pytest.mark.parametrize("outputs_gated", [False, True])
@pytest.mark.parametrize("accumulate", [False, True])
def test_conv(kernels, rng, outputs_gated, accumulate):
    conv, size = random_conv(rng), random_size(rng)
    inputs_open = torch.rand(conv.in_channels) < rng.choice([0.0, 0.5, 1.0])
    outputs_open = torch.rand(conv.out_channels) < (0.5 if outputs_gated else 2)
    x = torch.randn(conv.in_channels, *size) * inputs_open[:, None, None]
    split = conv.stride[0] == 2
    work = Workspace(kernels)
    level = Level(*(halved(size) if split else size), pad=6)
    source = work.place(conv.in_channels, level, 4 if split else 1)
    target = work.place(conv.out_channels, level)
    if inputs_open.any():
        planes = phases_of(x[inputs_open]) if split else x[inputs_open]
        work.planes(source, len(planes))[:] = planes
    num_out = int(outputs_open.sum())
    before = torch.randn(num_out, level.height, level.width)
    work.planes(target, num_out)[:] = before
    weights = conv.weight if outputs_gated else packed_weights(conv)
    relu = rng.random() < 0.5
    op = OpStruct(
        kind=Kind.CONV,
        in_channels=conv.in_channels,
        out_channels=conv.out_channels,
        in_list=work.set_list(0, inputs_open),
        out_list=work.set_list(1, outputs_open) if outputs_gated else ALL_OPEN,
        relu=relu,
        accumulate=accumulate,
        pool=True,
        stride=conv.stride[0],
        taps=conv.kernel_size[0] ** 2,
        packed=not outputs_gated,
    )
    op.weights, op.bias = work.keep(weights), work.keep(conv.bias)
    op.tap_offsets, op.mask = work.keep(tap_offsets(conv, level)), work.keep(level.mask())
    op.in_offset, op.in_grid = source.offset, source.grid()
    op.out_offset, op.out_grid = target.offset, target.grid()
    work.run(op)
    expected = conv.double()(x.double()[None])[0][outputs_open]
    expected = expected + before if accumulate else expected
    expected = expected.relu() if relu else expected
    planes = work.planes(target, num_out)
    torch.testing.assert_close(planes.double(), expected, rtol=1e-4, atol=1e-4)
    lanes = LANES[kernels]
    sums = work.memory[POOLS:][: num_out * lanes].view(num_out, lanes).double().sum(dim=1)
    torch.testing.assert_close(sums, expected.sum(dim=(1, 2)), rtol=1e-4, atol=1e-3)


def run_on_planes(kernels, kind, x, out_channels, out_size, *, stride, pad=0):
    work = Workspace(kernels)
    source = work.place(len(x), Level(*x.shape[1:], pad=pad))
    target = work.place(out_channels, Level(*out_size))
    work.planes(source, len(x))[:] = x
    work.planes(target, out_channels)[:] = float("nan")
    op = OpStruct(kind=kind, in_channels=len(x), out_channels=out_channels, stride=stride)
    op.in_offset, op.in_grid = source.offset, source.grid()
    op.out_offset, op.out_grid = target.offset, target.grid()
    work.run(op)
    return work.planes(target, out_channels)


def test_max_pool(kernels, rng):
    x = torch.rand(rng.randint(1, 5), *random_size(rng))
    out = run_on_planes(kernels, Kind.MAX_POOL, x, len(x), halved(x.shape[1:]), stride=2, pad=1)
    assert torch.equal(out, F.max_pool2d(x, 3, 2, 1))


@pytest.mark.parametrize("stride", [2, 3])
def test_avg_pool(kernels, rng, stride):
    x = torch.randn(rng.randint(1, 5), *random_size(rng))
    expected = F.avg_pool2d(x, stride, stride, ceil_mode=True, count_include_pad=False)
    out = run_on_planes(kernels, Kind.AVG_POOL, x, len(x), expected.shape[1:], stride=stride)
    torch.testing.assert_close(out, expected)


def test_subsample(kernels, rng):
    x = torch.randn(rng.randint(1, 5), *random_size(rng))
    more = rng.randint(0, 4)
    out = run_on_planes(kernels, Kind.SUBSAMPLE, x, len(x) + more, halved(x.shape[1:]), stride=2)
    assert torch.equal(out, F.pad(x[:, ::2, ::2], (0, 0, 0, 0, 0, more)))


def test_output(kernels, rng):
    x = torch.randn(rng.randint(1, 5), *random_size(rng))
    work = Workspace(kernels)
    source = work.place(len(x), Level(*x.shape[1:], pad=2))
    work.planes(source, len(x))[:] = x
    op = OpStruct(kind=Kind.OUTPUT, in_channels=len(x))
    op.in_offset, op.in_grid = source.offset, source.grid()
    out = torch.full_like(x, float("nan"))
    work.run(op, output=out)
    assert torch.equal(out, x)


@pytest.mark.parametrize("is_open", [False, True])
def test_finish_where_the_block_is_closed(kernels, rng, is_open):
    x = torch.randn(rng.randint(1, 5), *random_size(rng))
    work = Workspace(kernels)
    planes = work.place(len(x), Level(*x.shape[1:], pad=1))
    work.planes(planes, len(x))[:] = x
    work.set_list(0, torch.tensor([is_open]))
    op = OpStruct(kind=Kind.FINISH, in_channels=len(x), out_channels=len(x))
    op.relu = op.pool = True
    op.guard = 2  # if closed
    op.out_offset, op.out_grid = planes.offset, planes.grid()
    work.run(op)
    assert torch.equal(work.planes(planes, len(x)), x if is_open else x.relu())
    if not is_open:
        lanes = LANES[kernels]
        sums = work.memory[POOLS:][: len(x) * lanes].view(len(x), lanes).sum(dim=1)
        torch.testing.assert_close(sums, x.relu().sum(dim=(1, 2)))


def test_clear(kernels, rng):
    work = Workspace(kernels)
    work.memory[:] = 1
    begin = MAPS + rng.randint(0, 1000)
    end = begin + rng.randint(0, 1000)
    work.run(OpStruct(kind=Kind.CLEAR, out_offset=begin, in_offset=end))
    assert not work.memory[begin:end].any()
    assert work.memory[:begin].all()
    assert work.memory[end:].all()


@pytest.mark.parametrize("forces", [False, True])
def test_gate(kernels, rng, forces):
    channels, hidden, num_gates = rng.randint(1, MAX_CHANNELS), 16, rng.randint(2, 60)
    size, cut = random_size(rng), rng.randint(1, num_gates - 1)
    lanes = LANES[kernels]
    work = Workspace(kernels)
    sums = torch.randn(channels, lanes)
    work.memory[POOLS:][: channels * lanes] = sums.flatten()
    weights, bias = torch.randn(hidden, channels), torch.randn(hidden)
    weights2, bias2 = torch.randn(num_gates, hidden), torch.randn(num_gates)
    op = OpStruct(
        kind=Kind.GATE, in_channels=channels, out_channels=num_gates, hidden=hidden, num_lists=2
    )
    op.list_starts[:], op.list_ends[:] = (0, cut), (cut, num_gates)
    op.weights, op.bias = work.keep(weights), work.keep(bias)
    op.weights2, op.bias2 = work.keep(weights2), work.keep(bias2)
    op.in_grid = GridStruct(*size, size[1], size[0] * size[1])
    forced = torch.randn(num_gates) if forces else None
    logits = torch.empty(num_gates)
    work.run(op, logits=logits, forced=forced)
    means = sums.double().sum(dim=1) / (size[0] * size[1])
    inner = (weights.double() @ means + bias).relu()
    expected = forced if forces else weights2.double() @ inner + bias2
    torch.testing.assert_close(logits.double(), expected.double(), rtol=1e-4, atol=1e-4)
    for index, part in enumerate((logits[:cut], logits[cut:])):
        assert work.get_list(index) == (part > 0).nonzero()[:, 0].tolist()
