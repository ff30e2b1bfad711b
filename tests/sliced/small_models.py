"""Small gated models as after training, and whether the native kernel runs here."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbas.backbones import GatedResNetCifar
from mmbas.sliced.execution_path import why_not_native
from mmbas.sliced.folding import folded

CPU_FLOAT = dict(dtype=torch.float32, device="cpu")


def randomize_norms(model):
    """Statistics and weights as after training; in evaluation mode."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.weight is not None:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
    return model.eval()


def small_backbone(**arguments):
    """Three blocks, half of the gates open."""
    torch.manual_seed(0)
    return randomize_norms(GatedResNetCifar(8, **arguments))


def paths():
    """The paths that run on this CPU."""
    native = why_not_native(folded(small_backbone())) is None
    return ["torch", "native"] if native else ["torch"]


def images(num_images=2, size=(20, 24)):
    return torch.randn(num_images, 3, *size, generator=torch.Generator().manual_seed(1))


def assert_close(actual, expected, tolerance=1e-4):
    """Features of every stage, relative to the largest value."""
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        scale = other.abs().max().clamp_min(1e-6)
        assert float((one - other).abs().max() / scale) < tolerance
