"""Tests if the native kernels can run a backbone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mmbas.backbones.description import (
    ConvNorm,
    Description,
    Shortcut,
    UnsupportedError,
    check_inner_gates,
    describe,
)
from mmbas.sliced.folding import why_gate_not_folded

PADDINGS = {1: (0, 0), 3: (1, 0), 7: (0, 3)}  # kernel size: padding = a * dilation + b


def covered_description(
    backbone: nn.Module, *, dtypes: Sequence[torch.dtype] = (torch.float32,)
) -> Description:
    """The parts of a backbone that the kernels can run.

    Args:
        backbone: Backbone in evaluation mode, its normalisation folded.
        dtypes: Types that its weights may have.

    Raises:
        UnsupportedError: If they cannot.
    """
    description = describe(backbone)
    _check_seats(description, can_skip=torch.bfloat16 not in dtypes)
    if backbone.training:
        raise UnsupportedError("the backbone is in training mode")
    _check_tensors(backbone, dtypes)
    for layer in description.layers:
        _check_layer(layer)
    for block in description.blocks:
        if block.gate is not None and (reason := why_gate_not_folded(block.gate)):
            raise UnsupportedError(f"{block.name}.gate {reason}")
        if block.shortcut is not None:
            _check_shortcut(block.shortcut)
    return description


def _check_seats(description: Description, *, can_skip: bool) -> None:
    """Refuse gates of anything else than inner channels or, where asked for, whole blocks."""
    blocks = [block for block in description.blocks if block.gate is not None]
    if not can_skip or any(block.seats.branch is None for block in blocks):
        check_inner_gates(description)
    if description.gater is not None:
        raise UnsupportedError("the gates share a part of the network")


def _check_tensors(backbone: nn.Module, dtypes: Sequence[torch.dtype]) -> None:
    for name, tensor in backbone.named_parameters():
        if tensor.device.type != "cpu":
            raise UnsupportedError(f"{name} is on {tensor.device}, not on the CPU")
        if tensor.dtype not in dtypes:
            names = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
            raise UnsupportedError(f"{name} is {tensor.dtype}, not {names}")


def _check_layer(layer: ConvNorm) -> None:
    if type(layer.norm) is not nn.Identity:
        raise UnsupportedError(f"the norm {type(layer.norm).__name__} is not folded")
    conv = layer.conv
    size, stride, dilation, padding = conv.kernel_size, conv.stride, conv.dilation, conv.padding
    square = all(len(set(pair)) == 1 for pair in (size, stride, dilation))
    times_dilation, plus = PADDINGS.get(size[0], (-1, 0))
    expected = times_dilation * dilation[0] + plus
    if (
        not square
        or padding != (expected, expected)
        or stride[0] > 2
        or conv.groups != 1
        or conv.padding_mode != "zeros"
    ):
        raise UnsupportedError(f"the convolution {layer.conv_name} is not covered: {conv}")


def _check_shortcut(shortcut: Shortcut) -> None:
    if shortcut.layer is None and shortcut.stride != 2:
        raise UnsupportedError(f"a shortcut of stride {shortcut.stride} is not covered")
    pool = shortcut.pool
    if pool is None:
        return
    cut = pool.ceil_mode and not pool.count_include_pad and pool.divisor_override is None
    whole = isinstance(pool.kernel_size, int) and pool.stride == pool.kernel_size
    if not whole or pool.padding != 0 or not cut:
        raise UnsupportedError(f"the pooling {pool} is not covered")
