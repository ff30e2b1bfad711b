"""From a trained gated model to one that does not compute closed channels."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from mmcv.cnn import fuse_conv_bn
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbas.blocks import GatedResidualBlock
from mmbas.gates import named_gates
from mmbas.sliced.execution_path import BACKBONES
from mmbas.sliced.sliced_backbone import SlicedBackbone

Model = TypeVar("Model", bound=nn.Module)


def accelerate(model: Model, *, path: str = "auto") -> Model | SlicedBackbone:
    """Copy of a gated model that computes open channels only; the model is left as it is.

    Each block decides its gates first and then computes, image by image, the channels that are
    open: equal to the masked model up to rounding, for any gates and any batch size. Batch
    normalisation is folded into the convolutions, in the head too. Everything else works as before:
    ``predict`` with its MACs per image, ``record_gate_outputs``, ``force_gate_logits``,
    ``count_macs``.

    Args:
        model: A model with a gated backbone, such as ``GatedImageClassifier`` or
            ``GatedEncoderDecoder``, or the backbone itself; in evaluation mode.
        path: ``'auto'`` takes the native kernel where it can run and torch's own operators
            elsewhere, and logs which and why; ``'native'``, ``'torch'``; ``'triton'`` for GPUs.

    Returns:
        A model of the same class in evaluation mode, whose backbone is a
        :class:`SlicedBackbone`; for a backbone the ``SlicedBackbone`` itself.

    Raises:
        RuntimeError: If the model is in training mode.
        ValueError: If it has no gated backbone, or ``path`` cannot run it.
    """
    _check(model)
    copied: Any = folded(model)
    # Folding takes the parameters of the norm layers, which a count of parameters must include.
    copied.num_params_before_folding = sum(each.numel() for each in model.parameters())
    if isinstance(copied, BACKBONES):
        return SlicedBackbone(copied, path=path)
    for name, module in list(copied.named_modules()):
        if isinstance(module, BACKBONES) and named_gates(module):
            parent, _, attribute = name.rpartition(".")
            setattr(copied.get_submodule(parent), attribute, SlicedBackbone(module, path=path))
    return copied


def folded(model: Model) -> Model:
    """Copy with normalisation folded into the convolutions, for inference only."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        fuse_conv_bn(copied)
    return copied.requires_grad_(False)


def _check(model: nn.Module) -> None:
    if model.training:
        raise RuntimeError(
            "expected a model in evaluation mode, but got one in training mode; "
            "call model.eval() first"
        )
    gated = [
        module
        for module in model.modules()
        if isinstance(module, BACKBONES) and named_gates(module)
    ]
    if not gated:
        names = [backbone.__name__ for backbone in BACKBONES]
        raise ValueError(
            f"expected a model with gates in a backbone of {names}, but {type(model).__name__} has "
            "none; an accelerated model is accelerated already"
        )
    for backbone in gated:
        _check_norms(backbone)


def _check_norms(backbone: nn.Module) -> None:
    for name, block in backbone.named_modules():
        if isinstance(block, GatedResidualBlock):
            others = [
                norm
                for norm in block.norms
                if not isinstance(norm, _BatchNorm) or norm.weight is None
            ]
            if others:
                raise ValueError(
                    "expected batch normalisation with weights, which folds into the convolutions, "
                    f"but got {others[0]} in {name}; run the masked model instead"
                )
