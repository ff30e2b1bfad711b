"""Backbones ready for the Triton path, with normalisation that is not the identity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbas.gates import named_gates
from mmbas.sliced.folding import folded


def prepared(backbone: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The backbone in evaluation mode, random norm layers folded; its gates stay in float32."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    fused = folded(backbone.eval()).to(dtype)
    for gate in named_gates(fused).values():
        gate.float()
    return fused


def random_logits(backbone: nn.Module, num_images: int, open_fraction: float = 0.5) -> list[Tensor]:
    """Logits for each gate of the backbone, others for each image."""
    return [
        open_fraction - torch.rand(num_images, gate.num_gates)
        for gate in named_gates(backbone).values()
    ]


def relative_difference(value: Tensor, expected: Tensor) -> float:
    """Largest difference as a fraction of the largest expected value."""
    return float((value - expected).abs().max() / expected.abs().max())
