"""A backbone run by torch in float32, rounded to bfloat16 where the kernels round."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.backbones.description import Block, describe


def rounded(x: Tensor) -> Tensor:
    """The nearest bfloat16, in float32."""
    return x.bfloat16().float()


def run_rounded(backbone: nn.Module, x: Tensor, logits: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of a backbone with folded norms for these gate logits, one entry per gate.

    Weights, the image and each feature map are rounded; a shortcut's convolution and the one whose
    result it is added to are summed before.
    """
    description = describe(backbone)
    remaining = iter(logits)
    x = rounded(x)
    for layer in description.stem:
        x = rounded(F.relu(_conv(layer.conv, x)))
    if description.max_pool:
        x = F.max_pool2d(x, 3, 2, 1)
    outputs = []
    for index, stage in enumerate(description.stages):
        for block in stage:
            x = _block(block, x, None if block.gate is None else next(remaining))
        if index in description.out_indices:
            outputs.append(x)
    return outputs


def _conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    bias = conv.bias
    return F.conv2d(
        x, rounded(conv.weight), bias, conv.stride, conv.padding, conv.dilation, conv.groups
    )


def _block(block: Block, x: Tensor, logits: Tensor | None) -> Tensor:
    inner = x
    for conv, gated in zip(block.convs[:-1], block.gated, strict=True):
        inner = rounded(F.relu(_conv(conv, inner)))
        if gated is not None and logits is not None:
            inner = inner * (logits[:, gated] > 0)[:, :, None, None]
    return rounded(F.relu(_conv(block.convs[-1], inner) + _shortcut(block, x)))


def _shortcut(block: Block, x: Tensor) -> Tensor:
    shortcut = block.shortcut
    if shortcut is None:
        return x
    if shortcut.layer is None:
        result: Tensor = shortcut.module(x)
        return result
    if shortcut.pool is not None:
        x = rounded(shortcut.pool(x))
    return _conv(shortcut.layer.conv, x)
