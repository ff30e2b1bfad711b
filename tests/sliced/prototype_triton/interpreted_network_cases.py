"""Cases that test_interpreted.py runs in a process of its own with TRITON_INTERPRET=1."""

from __future__ import annotations

import itertools

import pytest
import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

pytest.importorskip("triton")

from sliced.prototype_triton.prepared import prepared, random_logits, relative_difference
from triton.runtime.errors import OutOfResources

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.gates import force_gate_logits, named_gates
from mmbas.sliced import accelerate
from mmbas.sliced.prototype_triton import TritonBackbone, fastest, gated_block, why_unsupported


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.manual_seed(0)


@pytest.fixture
def _nan_where_unwritten():
    """Fresh memory holds NaN, so whatever reads what nobody wrote is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def small() -> GatedResNet:
    """Two blocks."""
    return GatedResNet(18, num_stages=1, out_indices=(0,))


NETWORKS = {
    "basic": lambda: GatedResNet(18, num_stages=2, out_indices=(0, 1)),
    "bottleneck": lambda: GatedResNet(50, num_stages=1, out_indices=(0,)),
    "bottleneck, conv1, deep stem, dilated": lambda: GatedResNet(
        50, num_stages=1, out_indices=(0,), gate_positions="conv1", deep_stem=True, dilations=(2,)
    ),
    "bottleneck, conv2": lambda: GatedResNet(
        50, num_stages=1, out_indices=(0,), gate_positions="conv2"
    ),
    "cifar": lambda: GatedResNetCifar(14, width_factor=2, out_indices=(0, 2)),
    "reduced": lambda: GatedResNetCifar(
        14,
        block_widths=[
            dict(channels=channels, always_open=always_open)
            for channels, always_open in zip(
                (13, 1, 5, 32, 64, 50), (2, 1, 0, 31, 0, 3), strict=True
            )
        ],
    ),
}


def compare(backbone: BaseModule, x: Tensor, logits: list[Tensor | float | None]) -> float:
    """Largest relative difference between the Triton path and the masked model."""
    names = list(named_gates(backbone))
    forced = {name: value for name, value in zip(names, logits, strict=True) if value is not None}
    with force_gate_logits(backbone, forced), torch.no_grad():
        expected = backbone(x)
    outs, used = TritonBackbone(backbone)(x, logits)
    assert len(outs) == len(backbone.out_indices)
    for value, forced_value in zip(used, logits, strict=True):
        if forced_value is not None:
            assert torch.equal(value, torch.zeros_like(value) + forced_value)
    return max(map(relative_difference, outs, expected))


@pytest.mark.usefixtures("_nan_where_unwritten")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_equals_the_masked_one(name):
    backbone = prepared(NETWORKS[name]())
    x = torch.randn(3, 3, 10, 9)
    logits = random_logits(backbone, 3)
    logits[0][1] = -1  # image 1 has no gate open in the first block, image 2 all
    logits[0][2] = 1
    assert compare(backbone, x, logits) < 1e-4


@pytest.mark.usefixtures("_nan_where_unwritten")
@pytest.mark.parametrize("logit", [-1.0, 1.0, None])
def test_all_closed_all_open_and_decided_by_the_gates(logit):
    backbone = prepared(small())
    assert compare(backbone, torch.randn(2, 3, 16, 16), [logit] * 2) < 1e-4


def test_a_network_in_bfloat16():
    backbone = prepared(small(), torch.bfloat16)
    x = torch.randn(2, 3, 16, 16).bfloat16()
    assert compare(backbone, x, random_logits(backbone, 2)) < 5e-2


def test_accelerate_takes_this_path_when_asked():
    backbone = small().eval()
    x = torch.randn(2, 3, 16, 16)
    with force_gate_logits(backbone, 1.0), torch.no_grad():
        (expected,) = backbone(x)
    fast = accelerate(backbone, path="triton")
    with force_gate_logits(fast, 1.0):
        (out,) = fast(x)
    assert fast.path == "triton"
    assert relative_difference(out, expected) < 1e-4


def test_the_faster_way_is_measured_once_per_shape(monkeypatch):
    # GIVEN a device on which the masked way is always the faster one.
    measured = []

    def choose(candidates, time):
        measured.append((sorted(map(str, candidates)), time))
        return "masked"

    monkeypatch.setattr(gated_block, "timing_possible", lambda device: True)
    monkeypatch.setattr(gated_block, "fastest", choose)
    backbone = prepared(small())
    fast = TritonBackbone(backbone)
    logits = random_logits(backbone, 2)
    # WHEN it sees two shapes, one of them twice.
    for size in (16, 16, 24):
        fast(torch.randn(2, 3, size, size), logits)
    # THEN each block measured twice, both ways, and remembers.
    assert measured == [(["masked", "sliced"], fastest.call_ms)] * 4
    assert [list(ways.values()) for ways in fast.ways] == [["masked", "masked"]] * 2


def test_both_ways_give_the_same():
    backbone = prepared(small())
    x, logits = torch.randn(2, 3, 16, 16), random_logits(backbone, 2)
    outs = [TritonBackbone(backbone, way=way)(x, logits)[0][0] for way in ("sliced", "masked")]
    assert relative_difference(*outs) < 1e-5
    with pytest.raises(ValueError, match="expected way"):
        TritonBackbone(backbone, way="slow")


def test_the_fastest_candidate_that_fits_the_gpu(monkeypatch):
    def too_large() -> None:
        raise OutOfResources(2, 1, "shared memory")

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    clock = itertools.count()

    def later_is_slower(call) -> float:
        call()
        return next(clock)

    none = dict.fromkeys(["b", "a"], lambda: None)
    assert fastest.fastest({"c": too_large, **none}, later_is_slower) == "b"
    with pytest.raises(RuntimeError, match="expected one of .* to run on a GPU"):
        fastest.fastest({"c": too_large}, later_is_slower)
    assert not fastest.timing_possible(torch.device("cpu"))


def test_wrong_input_is_refused():
    backbone = prepared(small())
    fast = TritonBackbone(backbone)
    with pytest.raises(ValueError, match="expected images on cpu in torch.float32"):
        fast(torch.randn(2, 3, 16, 16).double(), [None] * 2)
    with pytest.raises(ValueError, match="for 2 gated blocks, but got 1"):
        fast(torch.randn(2, 3, 16, 16), [None] * 1)
    backbone.double()
    with pytest.raises(ValueError, match="accelerate the model after moving it"):
        fast(torch.randn(2, 3, 16, 16).double(), [None] * 2)


def test_what_is_not_supported_is_said():
    supported = prepared(GatedResNetCifar(20))
    assert why_unsupported(supported) is None
    assert "Linear is not a gated ResNet" in why_unsupported(nn.Linear(1, 1))
    assert "not folded" in why_unsupported(GatedResNetCifar(20).eval())
    assert "no gates" in why_unsupported(prepared(GatedResNetCifar(20, gate=None)))
    assert "float64" in why_unsupported(prepared(GatedResNetCifar(20)).double())
    no_bias = prepared(GatedResNetCifar(20))
    no_bias.layer1[0].conv1.bias = None
    assert "has no bias" in why_unsupported(no_bias)
    uneven = prepared(GatedResNetCifar(20))
    uneven.layer1[0].conv1.stride = (1, 2)
    assert "not square" in why_unsupported(uneven)
    supported.train()
    assert "training mode" in why_unsupported(supported)
    with pytest.raises(ValueError, match="Triton path, but the model is in training mode"):
        TritonBackbone(supported)
