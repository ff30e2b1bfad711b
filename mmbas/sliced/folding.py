"""Batch normalisation folded into the convolutions of a gated backbone.

Only what :func:`mmbas.backbones.description.describe` knows to be a convolution and the
normalisation of its output is folded. Heads and necks stay as they are: in which order their layers
run is written in their own ``forward``.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from mmbas.backbones.description import BACKBONES, ConvNorm, UnsupportedError, describe
from mmbas.gates import ChannelGate, Gate

Model = TypeVar("Model", bound=nn.Module)


def folded(model: Model) -> Model:
    """Copy of a model, normalisation folded in its gated backbones; for inference only.

    Args:
        model: Holds any number of backbones of ``BACKBONES``, or is one; is not changed.

    Raises:
        UnsupportedError: If a backbone has parts that cannot be folded.
    """
    copied = copy.deepcopy(model)
    for module in list(copied.modules()):
        if isinstance(module, BACKBONES):
            fold_norms(module)
    return copied.requires_grad_(False)


@torch.no_grad()
def fold_norms(backbone: nn.Module) -> None:
    """Replace the convolutions of a backbone by folded ones and its norms by the identity.

    Convolutions are replaced, not changed, in case another part of the model shares them.

    Args:
        backbone: Changed in place; norms that are the identity already are left out.

    Raises:
        UnsupportedError: If a normalisation is no batch normalisation with fixed statistics.
    """
    for layer in describe(backbone).layers:
        if type(layer.norm) is nn.Identity:
            continue
        _set(backbone, layer.conv_name, folded_conv(layer))
        _set(backbone, layer.norm_name, nn.Identity())


def folded_conv(layer: ConvNorm) -> nn.Conv2d:
    """``norm(conv(x))`` as one convolution; computed in float32 at least.

    Raises:
        UnsupportedError: If the normalisation is no batch normalisation with fixed statistics.
    """
    if type(layer.norm) is nn.Identity:
        return layer.conv
    conv, norm = layer.conv, _checked_norm(layer)
    dtype = torch.promote_types(conv.weight.dtype, torch.float32)
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    gamma = torch.ones_like(variance) if norm.weight is None else norm.weight
    beta = torch.zeros_like(mean) if norm.bias is None else norm.bias
    scale = gamma.to(dtype) / torch.sqrt(variance.to(dtype) + norm.eps)
    bias = torch.zeros_like(mean) if conv.bias is None else conv.bias
    bias = (bias.to(dtype) - mean.to(dtype)) * scale + beta.to(dtype)
    fused = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        conv.groups,
        padding_mode=conv.padding_mode,
        device="meta",  # draws no random numbers
    )
    weight = conv.weight.to(dtype) * scale[:, None, None, None]
    fused.weight = nn.Parameter(weight.to(conv.weight))
    fused.bias = nn.Parameter(bias.to(conv.weight))
    return fused.train(conv.training)


def why_gate_not_folded(gate: Gate) -> str | None:
    """Why the layers of a gate cannot be read as a :class:`ChannelGate`'s; None if they can."""
    if type(gate) is not ChannelGate:
        return f"is a {type(gate).__name__} and not a ChannelGate"
    for linear in (gate.fc1, gate.fc2):
        names = {name for name, _ in linear.named_parameters()}
        if type(linear) is not nn.Linear or not {"weight"} <= names <= {"weight", "bias"}:
            return f"has a layer that is no plain linear layer: {linear}"
    norm: nn.Module = gate.norm
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None:
        return f"has a norm that is no batch normalisation with statistics: {norm}"
    return None


def _checked_norm(layer: ConvNorm) -> _BatchNorm:
    norm = layer.norm
    forward = type(norm).forward
    own = forward not in (_BatchNorm.forward, SyncBatchNorm.forward) or "forward" in vars(norm)
    if not isinstance(norm, _BatchNorm) or own:
        raise UnsupportedError(
            f"{layer.norm_name} is a {type(norm).__name__} and not batch normalisation, which "
            "alone folds into a convolution"
        )
    if norm.training:
        raise UnsupportedError(f"{layer.norm_name} is in training mode")
    if norm.running_mean is None:
        raise UnsupportedError(
            f"{layer.norm_name} keeps no running statistics (track_running_stats=False), so it "
            "does not fold into a convolution"
        )
    return norm


def _set(backbone: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(backbone.get_submodule(parent), child, module)
