"""The bfloat16 path computes what the masked network computes, up to rounding."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from sliced.native_bf16.random_networks import RandomNetwork, random_logits, randomized
from sliced.native_bf16.rounded_network import run_rounded

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.gates import force_gate_logits, named_gates, record_gate_outputs
from mmbas.sliced.native import NativeBackbone
from mmbas.sliced.native.build import BuildError
from mmbas.sliced.native.library import VARIABLES, available

# Differences from the same network in float32, and from one that torch rounds at the same places,
# both relative to the largest value. Sums in another order round to the other neighbour now and
# then (1/256 of a value), which later layers carry on.
FLOAT32_TOLERANCE, ROUNDED_TOLERANCE, MEAN_TOLERANCE = 0.03, 0.012, 1e-3


ENVIRONMENT_VARIABLE = VARIABLES[torch.bfloat16]


def bf16_backbone(model):
    return NativeBackbone(model, dtype=torch.bfloat16)


def _available():
    try:
        return [each.name.lower() for each in available(torch.bfloat16)]
    except BuildError:
        return []


pytestmark = pytest.mark.skipif(not _available(), reason="needs a C++ compiler")


@pytest.fixture(params=_available())
def kernels(request, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, request.param)
    return request.param


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def assert_same(model, x, logits, *, own=None):
    """The bfloat16 path = the masked network for these logits, one tensor for each gate."""
    own = bf16_backbone(model) if own is None else own
    with force_gate_logits(model, dict(zip(named_gates(model), logits, strict=True))):
        exact = model(x)
    outputs, returned = own(x, logits)
    assert len(outputs) == len(exact)
    for output, masked, near in zip(outputs, exact, run_rounded(model, x, logits), strict=True):
        assert output.shape == masked.shape
        scale = max(masked.abs().max().item(), 0.1)  # the inputs are near 1: less is cancellation
        torch.testing.assert_close(output, masked, rtol=0, atol=FLOAT32_TOLERANCE * scale)
        torch.testing.assert_close(output, near, rtol=0, atol=ROUNDED_TOLERANCE * scale)
        assert (output - near).abs().mean().item() <= MEAN_TOLERANCE * scale
    for one, other in zip(returned, logits, strict=True):
        torch.testing.assert_close(one, other.float().expand_as(one), rtol=0, atol=0)


def test_random_networks(monkeypatch):
    rng = random.Random(0)
    torch.manual_seed(0)
    for _ in range(25):
        model = randomized(RandomNetwork(rng))
        num_images = rng.randint(1, 3)
        height, width = rng.choice([(1, 1), (rng.randint(1, 24), rng.randint(1, 40))])
        x = torch.randn(num_images, 3, height, width)
        logits = random_logits(rng, model, num_images)
        for kernels in _available():
            monkeypatch.setenv(ENVIRONMENT_VARIABLE, kernels)
            assert_same(model, x, logits)


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
def test_resnet(kernels, name):
    torch.manual_seed(0)
    model = randomized(GatedResNet(**NETWORKS[name]))
    own = bf16_backbone(model)
    for size in ((33, 47), (64, 64), (1, 1)):
        logits = random_logits(random.Random(0), model, 2)
        assert_same(model, torch.randn(2, 3, *size), logits, own=own)


@pytest.mark.parametrize("width_factor", [1, 3])
def test_cifar_resnet(kernels, width_factor):
    torch.manual_seed(0)
    model = randomized(GatedResNetCifar(20, width_factor=width_factor, out_indices=(0, 1, 2)))
    assert_same(model, torch.randn(2, 3, 32, 32), random_logits(random.Random(0), model, 2))


def test_gates_decide_from_float32_sums(kernels):
    """Logits are those of the masked network up to rounding of the feature maps."""
    torch.manual_seed(0)
    model = randomized(GatedResNet(18))
    x = torch.randn(2, 3, 64, 64)
    _, logits = bf16_backbone(model)(x, [None] * 8)
    # What was decided is forced, so that a logit near 0 does not send the networks apart.
    gates = named_gates(model)
    for (_, gate), own in zip(gates.items(), logits, strict=True):
        assert own.dtype == torch.float32
        assert own.shape == (2, gate.num_gates)
    with record_gate_outputs(model) as records:
        model(x)
    first = next(iter(gates))
    expected = records[first][0].logits
    torch.testing.assert_close(logits[0], expected, rtol=0, atol=0.01)


def test_forced_numbers_and_broadcast(kernels):
    torch.manual_seed(0)
    model = randomized(GatedResNet(18, num_stages=1, out_indices=(0,)))
    own = bf16_backbone(model)
    x = torch.randn(3, 3, 20, 20)
    row = torch.randn(64).double()
    (broadcast,), _ = own(x, [row, -1.0])
    (written_out,), _ = own(x, [row.expand(3, 64), torch.full((3, 64), -1.0)])
    torch.testing.assert_close(broadcast, written_out, rtol=0, atol=0)


@pytest.mark.parametrize("num_images", [1, 2, 5])
def test_threads_do_not_change_the_result(kernels, threads, num_images):
    torch.manual_seed(0)
    model = randomized(GatedResNet(50, num_stages=2, out_indices=(0, 1)))
    own = bf16_backbone(model)
    x = torch.randn(num_images, 3, 65, 50)
    logits = random_logits(random.Random(0), model, num_images)
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(own(x, logits)[0])
    for result in results[1:]:
        for output, reference in zip(result, results[0], strict=True):
            torch.testing.assert_close(output, reference, rtol=0, atol=0)


def test_concurrent_calls_do_not_disturb_each_other(kernels):
    torch.manual_seed(0)
    model = randomized(GatedResNet(18, num_stages=2, out_indices=(1,)))
    own = bf16_backbone(model)
    # More sizes than plans are kept.
    images = [torch.randn(1 + i % 2, 3, 32 + 8 * (i % 7), 48) for i in range(28)]
    forced = [None] * len(named_gates(model))
    expected = [own(x, forced)[0][0] for x in images]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda x: own(x, forced)[0][0], images))
    for result, reference in zip(results, expected, strict=True):
        torch.testing.assert_close(result, reference, rtol=0, atol=0)


def test_outputs_have_the_images_dtype(kernels):
    model = randomized(GatedResNet(18, num_stages=1, out_indices=(0,)))
    x = torch.randn(1, 3, 32, 32)
    (full,), _ = bf16_backbone(model)(x.bfloat16(), [1.0, 1.0])
    (half,), _ = bf16_backbone(model)(x.bfloat16().float(), [1.0, 1.0])
    assert (full.dtype, half.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(full.float(), half, rtol=0, atol=0)


def test_weights_may_be_bfloat16(kernels):
    torch.manual_seed(0)
    model = randomized(GatedResNet(18, num_stages=1, out_indices=(0,))).bfloat16()
    x = torch.randn(1, 3, 32, 32)
    (from_bfloat16,), _ = bf16_backbone(model)(x, [1.0, 1.0])
    (from_float32,), _ = bf16_backbone(model.float())(x, [1.0, 1.0])
    torch.testing.assert_close(from_bfloat16, from_float32, rtol=0, atol=0)


def test_later_changes_of_the_module_are_not_seen():
    torch.manual_seed(0)
    model = randomized(GatedResNet(18, num_stages=1, out_indices=(0,)))
    own = bf16_backbone(model)
    x = torch.randn(1, 3, 32, 32)
    before = own(x, [None, None])[0][0]
    for parameter in model.parameters():
        parameter.zero_()
    torch.testing.assert_close(own(x, [None, None])[0][0], before, rtol=0, atol=0)


def test_weights_are_copied_once():
    model = randomized(GatedResNet(18))
    halves = sum(parameter.numel() * 2 for parameter in model.parameters())
    assert 0.99 * halves < bf16_backbone(model).weight_bytes < 1.06 * halves


def test_an_empty_batch_gives_empty_results():
    model = randomized(GatedResNet(18, num_stages=1, out_indices=(0,)))
    (output,), logits = bf16_backbone(model)(torch.zeros(0, 3, 32, 32), [None, 1.0])
    assert output.shape == (0, 64, 8, 8)
    assert [each.shape for each in logits] == [(0, 64), (0, 64)]


def test_wrong_inputs_are_refused():
    model = randomized(GatedResNet(18, num_stages=1, out_indices=(0,)))
    own = bf16_backbone(model)
    with pytest.raises(ValueError, match="float32 or bfloat16 images"):
        own(torch.zeros(1, 3, 32, 32, dtype=torch.float64), [None, None])
    with pytest.raises(ValueError, match="shape"):
        own(torch.zeros(3, 32, 32), [None, None])
    with pytest.raises(ValueError, match="at least one pixel"):
        own(torch.zeros(1, 3, 0, 32), [None, None])
    with pytest.raises(ValueError, match="2 gates, but got 1"):
        own(torch.zeros(1, 3, 32, 32), [None])


def test_unknown_kernels_are_named(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "mmx")
    with pytest.raises(ValueError, match="mmx is not one of"):
        bf16_backbone(randomized(GatedResNet(18)))
