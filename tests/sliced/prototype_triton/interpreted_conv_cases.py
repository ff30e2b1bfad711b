"""Cases that test_interpreted.py runs in a process of its own with TRITON_INTERPRET=1."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

pytest.importorskip("triton")

from sliced.prototype_triton.prepared import relative_difference

from mmbas.sliced.prototype_triton import gated_conv
from mmbas.sliced.prototype_triton.gated_conv import (
    GatedConv,
    OpenChannels,
    Tile,
    list_open_channels,
)

NAN = float("nan")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.manual_seed(0)


def gates_with_counts(counts: list[int], num_channels: int) -> Tensor:
    """Gates (N, G) with the given number of open channels per image, at random places."""
    gates = torch.zeros(len(counts), num_channels)
    for image, count in enumerate(counts):
        gates[image, torch.randperm(num_channels)[:count]] = 1
    return gates


def opened(gates: Tensor | None) -> OpenChannels | None:
    return None if gates is None else list_open_channels(gates - 0.5, slice(None))


def compact(x: Tensor, gates: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H, W, P) in the documented layout, NaN where nothing may be read."""
    pitch = -(-x.shape[1] // 16) * 16
    out = torch.full((len(x), *x.shape[2:], pitch), NAN, dtype=x.dtype)
    for image, is_open in enumerate(gates.bool()):
        count = int(is_open.sum())
        out[image, ..., : -(-count // 16) * 16] = 0
        out[image, ..., :count] = x[image, is_open].permute(1, 2, 0)
    return out


def read_compact(out: Tensor, gates: Tensor) -> Tensor:
    """(N, H, W, P) back to (N, C, H, W), zeros where closed; checks the zeros after the open."""
    x = out.new_zeros(len(out), gates.shape[1], *out.shape[1:3])
    for image, is_open in enumerate(gates.bool()):
        count = int(is_open.sum())
        assert (out[image, ..., count : -(-count // 16) * 16] == 0).all()
        x[image, is_open] = out[image, ..., :count].permute(2, 0, 1)
    return x


def run_conv(
    conv: nn.Conv2d,
    x: Tensor,
    in_gates: Tensor | None,
    out_gates: Tensor | None,
    *,
    with_residual: bool = False,
) -> tuple[Tensor, Tensor]:
    """The kernel's output and the masked one, both (N, C', H', W')."""
    gated = GatedConv(conv, in_gated=in_gates is not None, out_gated=out_gates is not None)
    masked = x if in_gates is None else x * in_gates.to(x.dtype)[:, :, None, None]
    expected = conv(masked)
    residual = torch.randn_like(expected) if with_residual else None
    if residual is not None:
        expected = expected + residual
    expected = F.relu(expected)
    nhwc = x.permute(0, 2, 3, 1).contiguous() if in_gates is None else compact(x, in_gates)
    out = gated(
        nhwc,
        in_open=opened(in_gates),
        out_open=opened(out_gates),
        residual=None if residual is None else residual.permute(0, 2, 3, 1).contiguous(),
    )
    if out_gates is None:
        return out.permute(0, 3, 1, 2), expected
    return read_compact(out, out_gates), expected * out_gates.to(x.dtype)[:, :, None, None]


def test_the_list_of_open_channels_is_ascending_then_zeros():
    logits = torch.tensor([[1.0, -1, 0, 2, NAN, 3], [-1, -1, -1, -1, -1, -1], [1, 1, 1, 1, 1, 1]])
    opened = list_open_channels(logits, slice(1, 6))
    assert opened.counts.tolist() == [2, 0, 5]
    assert opened.lists.shape == (3, 16)
    assert opened.lists[0].tolist() == [2, 4] + [0] * 14
    assert opened.lists[1].tolist() == [0] * 16
    assert opened.lists[2].tolist() == [0, 1, 2, 3, 4] + [0] * 11


@pytest.mark.parametrize("kind", ["output", "input", "both"])
@pytest.mark.parametrize(
    "geometry",
    [
        dict(kernel_size=1),
        dict(kernel_size=1, stride=2),
        dict(kernel_size=3, padding=1),
        dict(kernel_size=3, padding=1, stride=2),
        dict(kernel_size=3, padding=2, dilation=2),
    ],
)
def test_any_convolution_equals_the_masked_one(kind, geometry, monkeypatch):
    # GIVEN tiles smaller than the image, the channels and the lists, and widths that fill none.
    monkeypatch.setattr(gated_conv, "INTERPRETED_TILE", Tile(32, 16, 16, warps=1, stages=1))
    conv = nn.Conv2d(19, 37, **geometry).requires_grad_(False)
    x = torch.randn(4, 19, 5, 7)
    in_gates = None if kind == "output" else gates_with_counts([8, 19, 0, 17], 19)
    out_gates = None if kind == "input" else gates_with_counts([20, 37, 33, 0], 37)
    out, expected = run_conv(conv, x, in_gates, out_gates, with_residual=kind == "input")
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 3)])
def test_images_smaller_than_the_kernel(size):
    conv = nn.Conv2d(16, 16, 3, padding=2, dilation=2).requires_grad_(False)
    gates = gates_with_counts([7, 12], 16)
    out, expected = run_conv(conv, torch.randn(2, 16, *size), gates, gates.flip(0))
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_half_precision_accumulates_in_float32(dtype, tolerance):
    conv = nn.Conv2d(64, 32, 3, padding=1).requires_grad_(False).to(dtype)
    gates = gates_with_counts([30, 64], 64)
    x = torch.randn(2, 64, 4, 4).to(dtype)
    out, _ = run_conv(conv, x, gates, None)
    exact = F.relu(conv.float()(x.float() * gates[:, :, None, None]))
    assert out.dtype == dtype
    assert relative_difference(out.float(), exact) < tolerance


def test_nan_is_not_hidden():
    conv = nn.Conv2d(16, 16, 1).requires_grad_(False)
    conv.bias[3] = NAN
    out, _ = run_conv(conv, torch.randn(1, 16, 2, 2), torch.ones(1, 16), None)
    assert out.isnan().any(dim=(0, 2, 3)).nonzero().tolist() == [[3]]


def test_an_empty_batch_gives_an_empty_output():
    conv = nn.Conv2d(16, 16, 1).requires_grad_(False)
    out, _ = run_conv(conv, torch.randn(0, 16, 2, 2), torch.ones(0, 16), None)
    assert out.shape == (0, 16, 2, 2)
