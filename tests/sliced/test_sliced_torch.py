"""Sliced execution with torch's operators: equal to the masked network, and its memory."""

import random

import pytest
import torch
from one_block import OneBlock
from sliced.small_models import paths, small_backbone
from torch import nn

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.backbones.description import describe
from mmbas.backbones.gated_resnet_cifar import SubsampleShortcut
from mmbas.blocks import GatedBasicBlock, GatedBottleneck
from mmbas.gates import force_gate_logits, named_gates, record_gate_outputs
from mmbas.measure.timing import peak_bytes
from mmbas.sliced import accelerate
from mmbas.sliced.folding import folded
from mmbas.sliced.torch_path import open_channel_conv, torch_backbone
from mmbas.sliced.torch_path.open_channel_conv import OpenChannelConv, open_channels
from mmbas.sliced.torch_path.scratch import Scratch
from mmbas.sliced.torch_path.torch_backbone import TorchBlock

GATE = dict(type="mmbas.ChannelGate")
NORM = dict(type="BN")


@pytest.fixture(autouse=True)
def _slice_small_blocks(monkeypatch):
    """Small blocks would be masked, since slicing them saves no time."""
    monkeypatch.setattr(torch_backbone, "MIN_SLICED_MACS", 0)


def randomize_norms(model):
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return model.eval()


def random_logits(num_images, num_gates):
    """Each image its own open fraction; often all or none of a gate's channels, or one half."""
    fractions = torch.tensor(
        [[random.choice([0.0, 0.1, 0.5, 0.9, 1.0])] for _ in range(num_images)]
    )
    logits = torch.where(torch.rand(num_images, num_gates) < fractions, 1.0, -1.0)
    if random.random() < 0.3:
        half = slice(0, num_gates // 2) if random.random() < 0.5 else slice(num_gates // 2, None)
        logits[:, half] = random.choice([-1.0, 1.0])
    return logits


def assert_equal_features(actual, expected, tolerance=1e-5):
    scale = expected.abs().max().clamp_min(1e-6)
    assert float((actual - expected).abs().max() / scale) < tolerance


def random_downsample(in_channels, out_channels, stride):
    if stride == 1 and in_channels == out_channels:
        return None
    if out_channels > in_channels and stride == 2 and random.random() < 0.3:
        return SubsampleShortcut(out_channels - in_channels, stride)
    conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def random_block():
    """A block of either kind with random widths, stride, dilation and gate positions."""
    in_channels, mid, out_channels = (random.choice([1, 3, 16, 20, 33, 64]) for _ in range(3))
    if random.random() < 0.5:
        out_channels = in_channels
    stride, dilation = random.choice([(1, 1), (2, 1), (1, 2), (1, 4), (2, 2)])
    arguments = dict(stride=stride, dilation=dilation, gate=GATE, norm_cfg=NORM)
    arguments["downsample"] = random_downsample(in_channels, out_channels, stride)
    if random.random() < 0.5:
        arguments["gate_positions"] = random.choice(["both", "conv1", "conv2"])
        return GatedBottleneck(in_channels, mid, out_channels, **arguments), in_channels
    return GatedBasicBlock(in_channels, mid, out_channels, **arguments), in_channels


@pytest.mark.parametrize("seed", range(200))
def test_random_block_equals_the_masked_one(seed):
    random.seed(seed)
    torch.manual_seed(seed)
    block, in_channels = random_block()
    randomize_norms(block)
    size = random.choice([(1, 1), (2, 2), (3, 5), (7, 7), (8, 13), (16, 16), (17, 15)])
    x = torch.randn(random.randint(1, 3), in_channels, *size)
    logits = random_logits(len(x), block.gate.num_gates)

    (described,) = describe(folded(OneBlock(in_channels, block).eval())).blocks
    with torch.no_grad(), force_gate_logits(block, logits):
        expected = block(x)
    rows = x.permute(0, 2, 3, 1).contiguous()
    with torch.no_grad():
        actual, used = TorchBlock(described, Scratch())(rows, logits, keep_input=True)
    assert torch.equal(used, logits)
    assert torch.equal(rows, x.permute(0, 2, 3, 1))  # left as it was
    assert_equal_features(actual.permute(0, 3, 1, 2), expected)


def test_every_way_to_convolve_gives_the_same(monkeypatch):
    # The same layer as a product of patches and as a convolution.
    torch.manual_seed(0)
    conv = nn.Conv2d(20, 24, 3, stride=2, padding=2, dilation=2)
    x = torch.randn(9, 9, 20)
    is_open = torch.rand(24) < 0.5
    outs = []
    for max_patches in (0, 1000):
        monkeypatch.setattr(open_channel_conv, "MAX_PATCHES", max_patches)
        sliced = OpenChannelConv(conv, gated_inputs=False, gated_outputs=True, scratch=Scratch())
        with torch.no_grad():
            outs.append(sliced(x, None, open_channels(is_open)))
    with torch.no_grad():
        expected = conv(x.permute(2, 0, 1)[None])[0].permute(1, 2, 0).relu()
    num_open = int(is_open.sum())
    for out in outs:
        torch.testing.assert_close(out[..., :num_open], expected[..., is_open])
        assert not out[..., num_open:].any()  # the zero channel


def test_indices_are_filled_up_with_the_zero_channel():
    is_open = torch.zeros(40, dtype=torch.bool)
    assert open_channels(is_open).outputs.tolist() == []
    assert open_channels(is_open).inputs.tolist() == []
    is_open[[3, 7]] = True
    assert open_channels(is_open).outputs.tolist() == [3, 7] + [40] * 14
    assert open_channels(is_open).inputs.tolist() == [3, 7, 40, 40]
    is_open[:] = True
    assert open_channels(is_open) is None
    is_open[0] = False
    assert open_channels(is_open).outputs.tolist() == [*range(1, 40)] + [40] * 9
    assert open_channels(is_open).inputs.tolist() == [*range(1, 40), 40]


NETWORKS = {
    "basic blocks": (lambda: GatedResNet(18, out_indices=(0, 1, 2, 3)), (65, 97)),
    "bottlenecks": (lambda: GatedResNet(50, out_indices=(1, 3)), (64, 64)),
    "after conv1": (lambda: GatedResNet(50, gate_positions="conv1"), (33, 64)),
    "after conv2": (lambda: GatedResNet(50, gate_positions="conv2"), (33, 64)),
    "dilated with deep stem": (
        lambda: GatedResNet(
            50,
            strides=(1, 2, 1, 1),
            dilations=(1, 1, 2, 4),
            contract_dilation=True,
            deep_stem=True,
            avg_down=True,
            out_indices=(0, 1, 2, 3),
        ),
        (64, 72),
    ),
    "CIFAR": (lambda: GatedResNetCifar(20, out_indices=(0, 1, 2)), (32, 31)),
    "wide CIFAR": (lambda: GatedResNetCifar(20, width_factor=3), (32, 32)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("min_sliced_macs", [0, 10**12])
def test_network_equals_the_masked_one(name, min_sliced_macs, monkeypatch):
    monkeypatch.setattr(torch_backbone, "MIN_SLICED_MACS", min_sliced_macs)
    random.seed(0)
    torch.manual_seed(0)
    build, size = NETWORKS[name]
    model = randomize_norms(build())
    x = torch.randn(2, 3, *size)
    before = x.clone()
    logits = {name: random_logits(2, gate.num_gates) for name, gate in named_gates(model).items()}
    fast = accelerate(model, path="torch")
    with torch.no_grad():
        with force_gate_logits(model, logits), force_gate_logits(fast, logits):
            expected, actual = model(x), fast(x)
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert one.shape == other.shape
            assert_equal_features(one, other)
        own, masked = fast(x), model(x)  # the gates' own decisions
    for one, other in zip(own, masked, strict=True):
        assert_equal_features(one, other, tolerance=1e-4)
    assert torch.equal(x, before)


@pytest.mark.parametrize("depth", [18, 50])
def test_memory_is_that_of_dense_and_one_copy_of_the_gated_weights(depth):
    torch.manual_seed(0)
    model = GatedResNet(depth).eval()
    plain = GatedResNet(depth, gate=None).eval()
    x = torch.randn(1, 3, 128, 128)

    def bytes_of(tensors):
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    fast = accelerate(model, path="torch")
    with torch.no_grad(), force_gate_logits(fast, random_halves(fast)):
        fast(x)
        sliced_peak = peak_bytes(lambda: fast(x))
    with torch.no_grad():
        plain(x)
        dense_peak = peak_bytes(lambda: plain(x))
    blocks = [block for stage in fast._execution.stages for block in stage]
    copies = [conv.weight for block in blocks for conv in block.convs]
    gated = [conv.conv.weight for block in blocks for conv in block.convs]
    # The zero channels are at most 1 / 64 of each direction.
    assert bytes_of(copies) <= 1.04 * bytes_of(gated)
    # What is gathered belongs to one layer: its weights (twice where inputs and outputs are gated)
    # and its patches.
    assert sliced_peak <= dense_peak
    assert fast._execution.scratch.num_bytes <= 3 * max(bytes_of([weight]) for weight in gated)


def random_halves(model):
    return {
        name: torch.where(torch.rand(1, gate.num_gates) < 0.5, 1.0, -1.0)
        for name, gate in named_gates(model).items()
    }


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("path", paths())
def test_an_empty_batch_has_empty_results(path, dtype):
    backbone = small_backbone()
    x = torch.zeros(0, 3, 32, 32)
    fast = accelerate(backbone, path="auto" if dtype else path, dtype=dtype)
    with record_gate_outputs(fast) as records:
        actual = fast(x)
    assert [each.shape for each in actual] == [each.shape for each in backbone(x)]
    assert [output.gates.shape for (output,) in records.values()] == [(0, 16), (0, 32), (0, 64)]
