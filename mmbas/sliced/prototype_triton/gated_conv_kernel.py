"""Triton kernels: list the open channels of each image, convolve over them only.

P. Tillet, H. T. Kung, D. Cox: Triton: An Intermediate Language and Compiler for Tiled Neural
Network Computations, MAPL 2019, https://triton-lang.org

Layouts (all dense in memory, the last axis contiguous):

    activation, ungated   (N, H, W, C)          channels_last
    activation, gated     (N, H, W, P)          compact: channel j of image n is its j-th open one;
                                                P = all channels rounded up to 16
                                                 0 ...  count-1 | count ... up to 16k | ... P-1
                                                 open channels  |  zeros              | unwritten
    list of open channels (N, P) int32          ascending, then zeros
    counts                (N,)   int32          open channels of each image

The zeros let the next convolution read whole vectors of 16 channels; the unwritten rest is never
read. Counts stay on the device: the grid is that of all gates open, and a program whose tile of
output channels lies beyond its image's count ends at once; the loop over input channels ends at
the count.

A kernel cannot take a struct, hence the long parameter lists.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def list_open_kernel(
    logits: tl.tensor,
    lists: tl.tensor,
    counts: tl.tensor,
    logits_pitch: int,
    list_pitch: int,
    first: int,
    num_channels: int,
    block: tl.constexpr,
) -> None:
    """One program per image: which of gates ``first ... first + num_channels - 1`` are open.

    Args:
        logits: Gate logits, (N, logits_pitch).
        lists: Out: lists of open channels, (N, list_pitch), int32.
        counts: Out: (N,), int32.
        logits_pitch: Gates of the block, G.
        list_pitch: ``num_channels`` rounded up to 16.
        first: The first gate of this representation.
        num_channels: Its gates.
        block: Power of two >= list_pitch.
    """
    image = tl.program_id(0)
    channel = tl.arange(0, block)
    logit = tl.load(
        logits + image * logits_pitch + first + channel, mask=channel < num_channels, other=0.0
    )
    is_open = logit > 0
    flags = is_open.to(tl.int32)
    position = tl.cumsum(flags, 0) - 1
    count = tl.sum(flags, 0)
    own = lists + image * list_pitch
    tl.store(own + position, channel, mask=is_open)
    tl.store(own + channel, 0, mask=(channel >= count) & (channel < list_pitch))
    tl.store(counts + image, count)


@triton.jit
def gated_conv_kernel(
    x: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    out: tl.tensor,
    in_lists: tl.tensor,
    in_counts: tl.tensor,
    out_lists: tl.tensor,
    out_counts: tl.tensor,
    height: int,
    width: int,
    in_pitch: int,
    out_height: int,
    out_width: int,
    out_pitch: int,
    tap_stride: int,
    in_stride: int,
    out_stride: int,
    kernel_size: tl.constexpr,
    stride: tl.constexpr,
    padding: tl.constexpr,
    dilation: tl.constexpr,
    in_gated: tl.constexpr,
    out_gated: tl.constexpr,
    has_residual: tl.constexpr,
    precision: tl.constexpr,
    upcast: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
) -> None:
    """``relu(conv(x) + bias + residual)`` as an implicit matrix product, one image at a time.

    Program (i, j, n) computes output positions ``i * block_m ...`` (rows of the product) and output
    channels ``j * block_n ...`` (columns; positions in the list where gated) of image n. The loop
    runs over the kernel's taps and, within a tap, over blocks of (open) input channels.

    Args:
        x: Activation, (N, height, width, in_pitch).
        weight: Weights in any layout, see the strides.
        bias: (all output channels,).
        residual: (N, out_height, out_width, out_pitch), added before the ReLU.
        out: Out: (N, out_height, out_width, out_pitch).
        in_lists: Open input channels, (N, in_pitch); unused unless ``in_gated``, as in_counts.
        in_counts: (N,).
        out_lists: Open output channels, (N, out_pitch); unused unless ``out_gated``, as out_counts.
        out_counts: (N,).
        height: Height of the input.
        width: Width of the input.
        in_pitch: Input channels, rounded up to 16 if gated.
        out_height: Height of the output.
        out_width: Width of the output.
        out_pitch: Output channels, rounded up to 16 if gated.
        tap_stride: Elements of ``weight`` from one tap of the kernel to the next.
        in_stride: Elements from one input channel to the next.
        out_stride: Elements from one output channel to the next.
        kernel_size: Height and width of the kernel.
        stride: Stride in both directions, as padding and dilation.
        padding: Zeros on each side.
        dilation: Pixels between taps.
        in_gated: Sum over the open input channels only.
        out_gated: Compute the open output channels only.
        has_residual: Add ``residual``.
        precision: Precision of float32 products: 'tf32' or 'ieee'.
        upcast: Multiply in float32 (Triton's interpreter cannot multiply bfloat16).
        block_m: Output positions of a tile, power of two >= 16, as the next two.
        block_n: Output channels of a tile.
        block_k: Input channels of a step.
    """
    tile_m = tl.program_id(0)
    tile_n = tl.program_id(1)
    image = tl.program_id(2)
    if out_gated:
        out_count = tl.load(out_counts + image)
        out_end = (out_count + 15) // 16 * 16
    else:
        out_count = out_pitch
        out_end = out_pitch
    if tile_n * block_n >= out_count:
        return
    if in_gated:
        in_end = (tl.load(in_counts + image) + 15) // 16 * 16
    else:
        in_end = in_pitch

    # 64 bits for the batch, 32 within an image.
    x += image.to(tl.int64) * height * width * in_pitch
    m = tile_m * block_m + tl.arange(0, block_m)
    m_inside = m < out_height * out_width
    top = m // out_width * stride - padding
    left = m % out_width * stride - padding

    n = tile_n * block_n + tl.arange(0, block_n)
    n_inside = n < out_end
    if out_gated:
        out_channel = tl.load(out_lists + image * out_pitch + n, mask=n_inside, other=0)
    else:
        out_channel = n

    # One flat loop, so that the compiler pipelines loads across taps too.
    acc = tl.zeros((block_m, block_n), dtype=tl.float32)
    steps_per_tap = (in_end + block_k - 1) // block_k
    for step in range(steps_per_tap * kernel_size * kernel_size):
        tap = step // steps_per_tap
        k = (step % steps_per_tap) * block_k + tl.arange(0, block_k)
        k_inside = k < in_end
        row = top + tap // kernel_size * dilation
        col = left + tap % kernel_size * dilation
        pixel_inside = m_inside & (row >= 0) & (row < height) & (col >= 0) & (col < width)
        a = tl.load(
            x + ((row * width + col) * in_pitch)[:, None] + k[None, :],
            mask=pixel_inside[:, None] & k_inside[None, :],
            other=0.0,
        )
        if in_gated:
            in_channel = tl.load(in_lists + image * in_pitch + k, mask=k_inside, other=0)
        else:
            in_channel = k
        b = tl.load(
            weight
            + tap * tap_stride
            + (in_channel * in_stride)[:, None]
            + (out_channel * out_stride)[None, :],
            mask=k_inside[:, None] & n_inside[None, :],
            other=0.0,
        )
        if upcast:
            a = a.to(tl.float32)
            b = b.to(tl.float32)
        acc = tl.dot(a, b, acc, input_precision=precision)

    acc += tl.load(bias + out_channel, mask=n_inside, other=0.0).to(tl.float32)[None, :]
    inside = m_inside[:, None] & n_inside[None, :]
    offset = image.to(tl.int64) * out_height * out_width * out_pitch
    offset = offset + (m * out_pitch)[:, None] + n[None, :]
    if has_residual:
        acc += tl.load(residual + offset, mask=inside, other=0.0).to(tl.float32)
    # Not tl.maximum, which turns NaN into 0. Behind the open channels stand zeros.
    acc = tl.where(acc < 0, 0.0, acc)
    acc = tl.where((n < out_count)[None, :], acc, 0.0)
    tl.store(out + offset, acc.to(out.dtype.element_ty), mask=inside)
