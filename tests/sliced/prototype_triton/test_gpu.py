"""The Triton path on a real GPU; skipped where there is none."""

from __future__ import annotations

import copy
import os

import pytest
import torch
from sliced.prototype_triton.prepared import prepared, random_logits, relative_difference
from torch import Tensor, nn

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.gates import force_gate_logits, named_gates
from mmbas.sliced.prototype_triton import TritonBackbone

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="kernels are interpreted"),
]

NETWORKS = {
    "basic": lambda: GatedResNet(18, out_indices=(0, 1, 2, 3)),
    "bottleneck, dilated": lambda: GatedResNet(
        50, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), deep_stem=True, contract_dilation=True
    ),
    "cifar": lambda: GatedResNetCifar(20),
}

# bfloat16 and float16 round every activation, TF32 every factor, to 8, 11 and 11 bits.
TOLERANCES = {
    "ieee": (torch.float32, 1e-4),
    "tf32": (torch.float32, 1e-2),
    "bfloat16": (torch.bfloat16, 1e-1),
    "float16": (torch.float16, 2e-2),
}


@pytest.fixture(autouse=True)
def _tf32_as_it_was():
    pytest.importorskip("triton", minversion="3.0")
    torch.manual_seed(0)
    before = torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32 = before


def masked(backbone: nn.Module, x: Tensor, logits: list[Tensor]) -> tuple[Tensor, ...]:
    names = named_gates(backbone)
    with force_gate_logits(backbone, dict(zip(names, logits, strict=True))), torch.no_grad():
        return backbone(x)


def on_gpu(
    name: str, *, dtype: torch.dtype = torch.float32, num_images: int = 3, size: int = 67
) -> tuple[nn.Module, Tensor, list[Tensor]]:
    backbone = prepared(NETWORKS[name](), dtype).cuda()
    x = torch.randn(num_images, 3, size, size, device="cuda").to(dtype)
    logits = [value.cuda() for value in random_logits(backbone, num_images)]
    logits[0][0] = -1
    logits[1][-1] = 1
    return backbone, x, logits


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_equals_the_masked_one(name, precision):
    dtype, tolerance = TOLERANCES[precision]
    backbone, x, logits = on_gpu(name, dtype=dtype)
    # GIVEN the masked network in float32 without TF32 as the truth.
    torch.backends.cudnn.allow_tf32 = False
    exact = masked(prepared_copy(backbone), x.float(), logits)
    torch.backends.cudnn.allow_tf32 = precision != "ieee"
    # WHEN every block runs sliced, whatever is faster.
    outs, _ = TritonBackbone(backbone, way="sliced")(x, logits)
    for out, expected in zip(outs, exact, strict=True):
        assert out.dtype == dtype
        assert relative_difference(out.float(), expected) < tolerance


def prepared_copy(backbone: nn.Module) -> nn.Module:
    """In float32, with the same (rounded) weights."""
    return copy.deepcopy(backbone).float()


@pytest.mark.parametrize("num_images", [1, 128])
def test_the_measured_way_gives_the_same(num_images):
    torch.backends.cudnn.allow_tf32 = False
    backbone, x, logits = on_gpu("basic", num_images=num_images)
    fast = TritonBackbone(backbone)
    outs, _ = fast(x, logits)
    assert {way for ways in fast.ways for way in ways.values()} <= {"sliced", "masked"}
    for out, expected in zip(outs, masked(backbone, x, logits), strict=True):
        assert relative_difference(out, expected) < 1e-4


def test_nothing_waits_for_the_host():
    backbone, x, logits = on_gpu("bottleneck, dilated")
    fast = TritonBackbone(backbone)
    fast(x, logits)  # measures, and that does wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        fast(x, logits)
        fast(x, [None] * len(logits))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_cuda_graph_follows_the_gates_of_each_image():
    torch.backends.cudnn.allow_tf32 = False
    backbone, x, logits = on_gpu("basic")
    fast = TritonBackbone(backbone, way="sliced")
    fast(x, logits)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outs, _ = fast(x, logits)
    # WHEN images and gates change between replays.
    x.normal_()
    for value in logits:
        value.uniform_(-0.3, 0.7)
    graph.replay()
    for out, expected in zip(outs, masked(backbone, x, logits), strict=True):
        assert relative_difference(out, expected) < 1e-4


def test_an_unseen_shape_cannot_be_captured():
    backbone, x, logits = on_gpu("cifar")
    with (
        pytest.raises(RuntimeError, match="before the capture"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        TritonBackbone(backbone)(x, logits)
