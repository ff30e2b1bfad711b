"""Gated networks."""

from mmbas.backbones.gated_resnet import GatedResNet
from mmbas.backbones.gated_resnet_cifar import GatedResNetCifar

__all__ = ["GatedResNet", "GatedResNetCifar"]
