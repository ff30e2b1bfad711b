"""A network without gates as somebody who deploys it would run it: normalisation folded."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmbas.backbones.gated_backbone import GatedBackbone
from mmbas.blocks import GatedResidualBlock
from mmbas.measure.outputs import relative_difference

TOLERANCE = 1e-3  # of the largest output


def plain_twin(gated: nn.Module) -> nn.Module:
    """Copy of a gated network without its gates."""
    plain = copy.deepcopy(gated)
    for module in plain.modules():
        if isinstance(module, GatedResidualBlock):
            module.gate = None
        elif isinstance(module, GatedBackbone):
            module.gater = None
    return plain


@torch.inference_mode()
def folded_plain(plain: nn.Module, images: Tensor) -> nn.Module:
    """Copy of a network, each batch normalisation of a convolution's output folded into it.

    Which layers follow each other is seen while the network runs. The copy's output is compared:
    where it is another one, since somebody else reads that convolution too, nothing is folded.

    Args:
        plain: Network without gates in evaluation mode.
        images: Shape (N, 3, H, W).
    """
    copied = copy.deepcopy(plain).requires_grad_(False)
    for conv_name, norm_name in _pairs(copied, images).items():
        conv, norm = copied.get_submodule(conv_name), copied.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, _BatchNorm)
        _set(copied, conv_name, fuse_conv_bn_eval(conv, norm))
        _set(copied, norm_name, nn.Identity())
    if relative_difference(copied(images), plain(images)) <= TOLERANCE:
        return copied
    return copy.deepcopy(plain).requires_grad_(False)


def _pairs(network: nn.Module, images: Tensor) -> dict[str, str]:
    """Names of convolutions, and for each that of the normalisation that takes its output."""
    made_by: dict[int, str] = {}
    alive: list[Tensor] = []  # else another tensor may get the same id
    pairs: dict[str, str] = {}

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        name = names[module]
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = name
            alive.append(output)
        elif (conv := made_by.get(id(inputs[0]))) is not None and module.track_running_stats:
            pairs[conv] = name

    names: dict[nn.Module, str] = {
        module: name
        for name, module in network.named_modules()
        if isinstance(module, (nn.Conv2d, _BatchNorm))
    }
    handles = [module.register_forward_hook(hook) for module in names]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return pairs


def _set(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
