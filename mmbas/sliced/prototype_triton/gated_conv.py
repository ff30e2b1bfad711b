"""A convolution that computes open channels only, on the GPU; see gated_conv_kernel.py."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import triton
from torch import Tensor, nn

from mmbas.sliced.prototype_triton.fastest import fastest, gpu_ms, timing_possible
from mmbas.sliced.prototype_triton.gated_conv_kernel import gated_conv_kernel, list_open_kernel
from mmbas.sliced.prototype_triton.support import interpreted

PAD = 16  # of compact channels; the kernels' vectors rely on it


@dataclass(frozen=True)
class Tile:
    """Work of one program of the kernel; see :func:`gated_conv_kernel`.

    Attributes:
        m: Output positions.
        n: Output channels.
        k: Input channels per step.
        warps: Warps of a program.
        stages: Steps whose loads are in flight.
    """

    m: int
    n: int
    k: int
    warps: int
    stages: int

    def num_stages(self, *, in_gated: bool) -> int:
        """Number for Triton, which spreads a list and the weights behind it over two stages."""
        return 2 * self.stages - 1 if in_gated else self.stages


# The small ones keep many multiprocessors busy at batch 1, the large ones reuse what they load.
TILES = (
    Tile(16, 32, 64, warps=2, stages=5),
    Tile(32, 32, 64, warps=4, stages=4),
    Tile(64, 32, 64, warps=4, stages=4),
    Tile(64, 64, 32, warps=4, stages=4),
    Tile(64, 128, 32, warps=4, stages=4),
    Tile(128, 64, 32, warps=4, stages=4),
    Tile(128, 128, 32, warps=8, stages=3),
)
INTERPRETED_TILE = Tile(128, 64, 128, warps=1, stages=1)  # it is slow per step, not per element


@dataclass(frozen=True)
class OpenChannels:
    """Open channels of an inner representation in each image.

    Attributes:
        lists: Channels, (N, P), int32: the open ones ascending, then zeros; P is the number of
            channels rounded up to 16.
        counts: Open channels, (N,), int32.
    """

    lists: Tensor
    counts: Tensor


def list_open_channels(logits: Tensor, gated: slice) -> OpenChannels:
    """List the open channels of an inner representation, without a host synchronisation.

    Args:
        logits: Gate logits of a block, (N, G); a gate is open where its logit is > 0.
        gated: Gates that switch this representation.
    """
    first, stop, _ = gated.indices(logits.shape[1])
    pitch = triton.cdiv(stop - first, PAD) * PAD
    lists = torch.empty(len(logits), pitch, dtype=torch.int32, device=logits.device)
    counts = torch.empty(len(logits), dtype=torch.int32, device=logits.device)
    logits = logits.contiguous()
    list_open_kernel[(len(logits),)](
        logits,
        lists,
        counts,
        logits.shape[1],
        pitch,
        first,
        stop - first,
        block=triton.next_power_of_2(pitch),
    )
    return OpenChannels(lists, counts)


class GatedConv:
    """``relu(conv(x) + residual)`` over the open channels of each image.

    Gathered channels should be far apart in memory and each of them contiguous. So the
    weights of a convolution whose inputs alone are gated are copied to (taps, inputs, outputs); the
    others are read in their channels_last layout (outputs, taps, inputs).

    Args:
        conv: With bias, one group, square kernel, float32, bfloat16 or float16.
        in_gated: Its input is compact, see :class:`OpenChannels`.
        out_gated: Its output is compact.
    """

    def __init__(self, conv: nn.Conv2d, *, in_gated: bool, out_gated: bool) -> None:
        self.in_gated = in_gated
        self.out_gated = out_gated
        self.bias = conv.bias
        self.out_channels = conv.out_channels
        self.kernel_size = conv.kernel_size[0]
        self.stride = conv.stride[0]
        self.padding = int(conv.padding[0])
        self.dilation = conv.dilation[0]
        taps = self.kernel_size**2
        weight = conv.weight.detach().permute(0, 2, 3, 1)
        if in_gated and not out_gated:
            weight = weight.permute(1, 2, 3, 0).contiguous()
            self.strides = (conv.in_channels * conv.out_channels, conv.out_channels, 1)
        else:
            weight = weight.contiguous()  # no copy if conv is in channels_last
            self.strides = (conv.in_channels, 1, taps * conv.in_channels)
        self.weight = weight
        self._tiles: dict[object, Tile] = {}

    def __call__(
        self,
        x: Tensor,
        *,
        in_open: OpenChannels | None,
        out_open: OpenChannels | None,
        residual: Tensor | None = None,
    ) -> Tensor:
        """Output, (N, H', W', C' or P'), for ``x``, (N, H, W, C or P), both contiguous.

        Args:
            x: Compact if ``in_open`` is given.
            in_open: Open input channels; given exactly if ``in_gated``.
            out_open: Open output channels; given exactly if ``out_gated``. The output is compact.
            residual: Added before the ReLU; (N, H', W', C'), contiguous.
        """
        pitch = self.out_channels if out_open is None else out_open.lists.shape[1]
        size = [
            (s + 2 * self.padding - self.dilation * (self.kernel_size - 1) - 1) // self.stride + 1
            for s in x.shape[1:3]
        ]
        out = x.new_empty(len(x), size[0], size[1], pitch)
        if not len(x):
            return out
        tensors = (x, out, residual)
        key = (x.shape, float32_precision())
        tile = self._tiles.get(key)
        if tile is None:
            tile = self._fastest_tile(tensors, in_open, out_open)
            self._tiles[key] = tile
        self._launch(tile, tensors, in_open, out_open)
        return out

    def _fastest_tile(
        self,
        tensors: tuple[Tensor, Tensor, Tensor | None],
        in_open: OpenChannels | None,
        out_open: OpenChannels | None,
    ) -> Tile:
        """Measured once per shape; in the interpreter there is nothing to measure."""
        if not timing_possible(tensors[0].device):
            return INTERPRETED_TILE
        return fastest(
            {tile: partial(self._launch, tile, tensors, in_open, out_open) for tile in TILES},
            gpu_ms,
        )

    def _launch(
        self,
        tile: Tile,
        tensors: tuple[Tensor, Tensor, Tensor | None],
        in_open: OpenChannels | None,
        out_open: OpenChannels | None,
    ) -> None:
        x, out, residual = tensors
        grid = (
            triton.cdiv(out.shape[1] * out.shape[2], tile.m),
            triton.cdiv(out.shape[3], tile.n),
            len(x),
        )
        # For what a kernel does not use any tensor will do.
        gated_conv_kernel[grid](
            x,
            self.weight,
            self.bias,
            out if residual is None else residual,
            out,
            out if in_open is None else in_open.lists,
            out if in_open is None else in_open.counts,
            out if out_open is None else out_open.lists,
            out if out_open is None else out_open.counts,
            *x.shape[1:],
            *out.shape[1:],
            *self.strides,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            in_gated=self.in_gated,
            out_gated=self.out_gated,
            has_residual=residual is not None,
            precision=float32_precision(),
            upcast=interpreted(),
            block_m=tile.m,
            block_n=tile.n,
            block_k=tile.k,
            num_warps=tile.warps,
            num_stages=tile.num_stages(in_gated=self.in_gated),
        )


def float32_precision() -> str:
    """Precision of float32 products, as in cuDNN's convolutions: TF32 unless switched off."""
    cudnn = torch.backends.cudnn
    if hasattr(cudnn, "conv"):  # newer releases; the old flag is an error where both are used
        return "tf32" if cudnn.conv.fp32_precision == "tf32" else "ieee"
    return "tf32" if cudnn.allow_tf32 else "ieee"
