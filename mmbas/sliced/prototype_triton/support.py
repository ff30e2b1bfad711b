"""Where the Triton path can run."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import importlib.util
import os

import torch
from torch import nn

from mmbas.backbones.description import (
    Description,
    UnsupportedError,
    check_inner_gates,
    describe,
)
from mmbas.gates import Gate

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def interpreted() -> bool:
    """Tell whether Triton interprets its kernels on the CPU; set before it is first imported."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def why_unsupported(backbone: nn.Module) -> str | None:
    """Why a backbone cannot run on the Triton path: a clause for a message; None if it can.

    Args:
        backbone: Backbone in evaluation mode, its norm layers folded into the convolutions
            (:func:`mmbas.sliced.folding.fold_norms`).
    """
    try:
        description = describe(backbone)
        check_inner_gates(description)
    except UnsupportedError as error:
        return str(error)
    if any(type(gate).decide is not Gate.decide for gate in description.gates):
        return "its gates multiply by more than 0 and 1"
    convs = [conv for block in description.blocks for conv in block.convs]
    return (
        _why_not_here(backbone)
        or _why_not_prepared(backbone, description)
        or next((reason for conv in convs if (reason := _why_not_conv(conv))), None)
    )


def why_no_triton() -> str | None:
    """Why there is no usable Triton: a clause for a message; None if there is."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    import triton

    if int(triton.__version__.split(".")[0]) < 3:
        return f"triton {triton.__version__} is older than 3.0"
    return None


def _why_not_here(backbone: nn.Module) -> str | None:
    if reason := why_no_triton():
        return reason
    if interpreted():
        return None
    if not torch.cuda.is_available():
        return "there is no GPU (and TRITON_INTERPRET is not 1)"
    device = next(backbone.parameters()).device
    if device.type != "cuda":
        return f"the model is on {device}, not on a GPU"
    capability = torch.cuda.get_device_capability(device)
    if capability < (8, 0):
        return f"the GPU's compute capability is {capability}, below 8.0"
    return None


def _why_not_prepared(backbone: nn.Module, description: Description) -> str | None:
    if backbone.training:
        return "the model is in training mode"
    if not description.gates:
        return "the model has no gates"
    if any(type(layer.norm) is not nn.Identity for layer in description.layers):
        return "norm layers are not folded into the convolutions"
    return None


def _why_not_conv(conv: nn.Conv2d) -> str | None:
    if conv.weight.dtype not in DTYPES:
        return f"{conv.weight.dtype} is not float32, bfloat16 or float16"
    if conv.bias is None:
        return "a convolution has no bias, so no norm layer was folded into it"
    if conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return f"a convolution is grouped or padded otherwise than by zeros: {conv}"
    geometry = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    if any(len(set(pair)) != 1 for pair in geometry):
        return f"a convolution is not square: {conv}"
    return None
