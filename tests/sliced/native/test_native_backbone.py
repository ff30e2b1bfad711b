"""The native kernels compute what the masked network computes, on every instruction set here."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from one_block import OneBlock
from sliced.native_bf16.random_networks import RandomNetwork, randomized
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.backbones.gated_resnet_cifar import SubsampleShortcut
from mmbas.blocks import GatedBasicBlock, GatedBottleneck
from mmbas.gates import force_gate_logits, named_gates, record_gate_outputs
from mmbas.sliced.folding import folded
from mmbas.sliced.native import NativeBackbone
from mmbas.sliced.native.build import BuildError
from mmbas.sliced.native.library import VARIABLES, available

GATE = dict(type="mmbas.ChannelGate")
BN = dict(type="BN")


ENVIRONMENT_VARIABLE = VARIABLES[torch.float32]
MAX_PLANS = 4  # kMaxPlans of backbone.cpp


def _available():
    try:
        return [each.name.lower() for each in available(torch.float32)]
    except BuildError:
        return []


pytestmark = pytest.mark.skipif(not _available(), reason="needs a C++ compiler")


@pytest.fixture(params=_available())
def isa(request, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, request.param)
    return request.param


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def randomize(model):
    """Statistics and weights as after training; in evaluation mode, norms folded."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return folded(model.eval())


def assert_same(model, x, forced, *, native=None):
    """Native = masked for these logits (a list with an entry per gate)."""
    native = NativeBackbone(model) if native is None else native
    names = list(named_gates(model))
    known = {name: value for name, value in zip(names, forced, strict=True) if value is not None}
    with record_gate_outputs(model) as records, force_gate_logits(model, known):
        expected = model(x)
    outputs, logits = native(x, forced)
    assert len(outputs) == len(expected)
    for output, reference in zip(outputs, expected, strict=True):
        assert output.is_contiguous()
        tolerance = 1e-5 * reference.abs().max().item()
        torch.testing.assert_close(output, reference, rtol=0, atol=tolerance)
    for name, own in zip(names, logits, strict=True):
        torch.testing.assert_close(own, records[name][0].logits.float(), rtol=1e-4, atol=1e-4)


def random_shortcut(rng, channels, out_channels, stride):
    if stride == 1 and channels == out_channels and rng.random() < 0.7:
        return None
    if stride == 2 and out_channels >= channels and rng.random() < 0.3:
        return SubsampleShortcut(out_channels - channels, 2)
    conv_stride, layers = stride, []
    if rng.random() < 0.3:
        pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
        conv_stride, layers = 1, [pool]
    conv = nn.Conv2d(channels, out_channels, 1, conv_stride, bias=False)
    return nn.Sequential(*layers, conv, nn.BatchNorm2d(out_channels))


def random_backbone(rng):
    basic = rng.random() < 0.5
    channels, mid_channels = rng.randint(1, 30), rng.randint(1, 40)
    out_channels = channels if rng.random() < 0.5 else rng.randint(1, 30)
    stride = rng.choice([1, 1, 2])
    arguments = dict(
        stride=stride,
        dilation=rng.choice([1, 1, 2, 4]),
        gate=GATE if rng.random() < 0.9 else None,
        norm_cfg=BN,
        downsample=random_shortcut(rng, channels, out_channels, stride),
    )
    inner = ["both"] if basic else ["both", "conv1", "conv2"]
    arguments["gate_positions"] = rng.choice([*inner, "branch", "block"])
    block = GatedBasicBlock if basic else GatedBottleneck
    return OneBlock(channels, block(channels, mid_channels, out_channels, **arguments))


def random_logits(rng, model, num_images):
    """For each gate: none, some or all open, differently for each image; or nothing forced."""
    logits = []
    for gate in named_gates(model).values():
        fractions = torch.tensor([[rng.choice([0.0, 0.3, 0.6, 1.0])] for _ in range(num_images)])
        random_gates = torch.rand(num_images, gate.num_gates) < fractions
        logits.append(None if rng.random() < 0.2 else random_gates.float() - 0.5)
    return logits


def test_200_random_blocks_equal_the_masked_network(monkeypatch):
    rng = random.Random(0)
    torch.manual_seed(0)
    for _ in range(200):
        model = randomize(random_backbone(rng))
        num_images = rng.randint(1, 3)
        height, width = rng.choice([(1, 1), (rng.randint(1, 20), rng.randint(1, 40))])
        x = torch.randn(num_images, 3, height, width)
        forced = random_logits(rng, model, num_images)
        for isa in _available():
            monkeypatch.setenv(ENVIRONMENT_VARIABLE, isa)
            assert_same(model, x, forced)


def test_random_networks_of_several_blocks():
    rng = random.Random(0)
    torch.manual_seed(0)
    for _ in range(25):
        model = randomized(RandomNetwork(rng))
        x = torch.randn(rng.randint(1, 3), 3, rng.randint(1, 24), rng.randint(1, 40))
        assert_same(model, x, random_logits(rng, model, len(x)))


DILATED = dict(deep_stem=True, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True)
NETWORKS = {
    "18": dict(depth=18),
    "34, one stage": dict(depth=34, num_stages=1, out_indices=(0,)),
    "50": dict(depth=50, num_stages=3, out_indices=(1, 2)),
    "plain 18": dict(depth=18, gate=None),
    "V1d, dilated": dict(
        depth=50,
        num_stages=3,
        deep_stem=True,
        avg_down=True,
        strides=(1, 2, 1),
        dilations=(1, 1, 2),
        contract_dilation=True,
        out_indices=(0, 2),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_resnet(isa, name):
    torch.manual_seed(0)
    model = randomize(GatedResNet(**NETWORKS[name]))
    for size in ((33, 47), (64, 64), (1, 1)):
        x = torch.randn(2, 3, *size)
        assert_same(model, x, [None] * len(named_gates(model)))


@pytest.mark.parametrize("name", NETWORKS)
def test_feature_maps_that_share_memory(name):
    torch.manual_seed(0)
    model = randomize(GatedResNet(**NETWORKS[name]))
    native = NativeBackbone(model, unshared_bytes=0)
    forced = [None] * len(named_gates(model))
    for _ in range(2):  # the second finds the memory as the first left it
        assert_same(model, torch.randn(2, 3, 47, 33), forced, native=native)


def test_sharing_memory_saves_memory():
    model = randomize(GatedResNet(50, **DILATED))
    sizes = []
    for unshared_bytes in (1 << 40, 0):
        native = NativeBackbone(model, unshared_bytes=unshared_bytes)
        native(torch.zeros(1, 3, 64, 128), [-1.0] * len(named_gates(model)))
        sizes.append(native.workspace_bytes)
    assert sizes[1] < 0.75 * sizes[0]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_map_that_exceeds_the_cache(isa, threads, stride):
    torch.manual_seed(0)
    shortcut = random_shortcut(random.Random(0), 40, 40, stride)
    block = GatedBasicBlock(40, 30, 40, stride=stride, gate=GATE, norm_cfg=BN, downsample=shortcut)
    model = randomize(OneBlock(40, block))
    x = torch.randn(1, 3, 151, 170)
    for count in (1, 2):
        threads(count)
        assert_same(model, x, [torch.randn(1, 30)])


@pytest.mark.parametrize("width_factor", [1, 3])
def test_cifar_resnet(isa, width_factor):
    torch.manual_seed(0)
    model = randomize(GatedResNetCifar(20, width_factor=width_factor, out_indices=(0, 1, 2)))
    assert_same(model, torch.randn(2, 3, 32, 32), random_logits(random.Random(0), model, 2))


@pytest.mark.parametrize("open_logit", [-1.0, 1.0])
def test_a_number_forces_all_gates(isa, open_logit):
    torch.manual_seed(0)
    model = randomize(GatedResNet(18))
    forced = [open_logit] * len(named_gates(model))
    assert_same(model, torch.randn(1, 3, 40, 40), forced)


def test_forced_logits_broadcast_over_images():
    torch.manual_seed(0)
    model = randomize(GatedResNet(18, num_stages=1, out_indices=(0,)))
    forced = [torch.randn(gate.num_gates).double() for gate in named_gates(model).values()]
    assert_same(model, torch.randn(3, 3, 20, 20), forced)


def test_gates_that_are_always_open():
    torch.manual_seed(0)
    gate = dict(**GATE, always_open=(0, 2))
    block = GatedBasicBlock(8, 12, 8, gate=gate, norm_cfg=BN)
    assert_same(randomize(OneBlock(8, block)), torch.randn(2, 3, 9, 9), [None])


@pytest.mark.parametrize("num_images", [1, 2, 5])
def test_threads_do_not_change_the_result(isa, threads, num_images):
    torch.manual_seed(0)
    model = randomize(GatedResNet(50, num_stages=2, out_indices=(0, 1)))
    native = NativeBackbone(model)
    x = torch.randn(num_images, 3, 65, 50)
    forced = [torch.randn(num_images, gate.num_gates) for gate in named_gates(model).values()]
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(native(x, forced)[0])
    for result in results[1:]:
        for output, reference in zip(result, results[0], strict=True):
            torch.testing.assert_close(output, reference, rtol=0, atol=0)


def test_concurrent_calls_do_not_disturb_each_other():
    torch.manual_seed(0)
    model = randomize(GatedResNet(18, num_stages=2, out_indices=(1,)))
    native = NativeBackbone(model)
    images = [torch.randn(1 + i % 2, 3, 40 + 8 * (i % 3), 48) for i in range(24)]
    forced = [None] * len(named_gates(model))
    expected = [native(x, forced)[0][0] for x in images]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda x: native(x, forced)[0][0], images))
    for result, reference in zip(results, expected, strict=True):
        torch.testing.assert_close(result, reference, rtol=0, atol=0)


def test_later_changes_of_the_module_are_not_seen():
    torch.manual_seed(0)
    model = randomize(GatedResNet(18, num_stages=1, out_indices=(0,)))
    native = NativeBackbone(model)
    x = torch.randn(1, 3, 32, 32)
    forced = [None] * len(named_gates(model))
    before = native(x, forced)[0][0]
    for parameter in model.parameters():
        parameter.zero_()
    torch.testing.assert_close(native(x, forced)[0][0], before, rtol=0, atol=0)


def test_weights_are_copied_once():
    model = randomize(GatedResNet(18))
    own = sum(parameter.numel() * 4 for parameter in model.parameters())
    assert 0.99 * own < NativeBackbone(model).weight_bytes < 1.03 * own


def test_only_the_last_sizes_are_kept():
    torch.manual_seed(0)
    model = randomize(GatedResNetCifar(8))
    forced = [None] * len(named_gates(model))

    def kept_after(sides):
        native = NativeBackbone(model)
        for side in sides:
            assert_same(model, torch.randn(1, 3, side, 8), forced, native=native)
        return native.workspace_bytes

    first, second, *others = range(8, 8 + MAX_PLANS)
    assert kept_after([first, second]) > kept_after([first]) > 0
    # The first is used again, so the second is the oldest.
    assert kept_after([first, second, *others, first, 60]) == kept_after([*others, first, 60])
    assert kept_after(range(8, 40)) == kept_after(range(40 - MAX_PLANS, 40))


def test_wrong_inputs_are_refused():
    model = randomize(GatedResNet(18, num_stages=1, out_indices=(0,)))
    native = NativeBackbone(model)
    forced = [None] * len(named_gates(model))
    with pytest.raises(ValueError, match="float32 images"):
        native(torch.zeros(1, 3, 32, 32, dtype=torch.float64), forced)
    with pytest.raises(ValueError, match="shape"):
        native(torch.zeros(3, 32, 32), forced)
    with pytest.raises(ValueError, match="at least one pixel"):
        native(torch.zeros(1, 3, 0, 32), forced)
    with pytest.raises(ValueError, match="2 gates, but got 1"):
        native(torch.zeros(1, 3, 32, 32), forced[:1])
