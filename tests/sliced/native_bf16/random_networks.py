"""Small backbones of random widths, depths and kinds of blocks."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbas.backbones import GatedResNetCifar
from mmbas.backbones.gated_resnet_cifar import SubsampleShortcut
from mmbas.blocks import GatedBasicBlock, GatedBottleneck
from mmbas.gates import named_gates
from mmbas.sliced.folding import folded

GATE = dict(type="mmbas.ChannelGate")
BN = dict(type="BN")


class RandomNetwork(GatedResNetCifar):
    """A 3x3 convolution and stages of one or two random blocks.

    Args:
        rng: Decides everything.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__(8, base_channels=1)
        del self.layer1, self.layer2, self.layer3
        channels = rng.choice([3, 16, 32, rng.randint(1, 70)])
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1)
        self.bn1 = nn.Identity()
        self.stage_names = [f"layer{i + 1}" for i in range(rng.randint(1, 3))]
        for name in self.stage_names:
            blocks = []
            for _ in range(rng.randint(1, 2)):
                block, channels = random_block(rng, channels)
                blocks.append(block)
            self.add_module(name, nn.Sequential(*blocks))
        last = len(self.stage_names) - 1
        self.out_indices = (last,) if rng.random() < 0.5 else tuple(range(last + 1))


def random_block(rng: random.Random, channels: int) -> tuple[nn.Module, int]:
    """A block for so many channels, and how many it has left."""
    mid_channels = rng.choice([rng.randint(1, 40), rng.randint(1, 140)])
    out_channels = channels if rng.random() < 0.6 else rng.randint(1, 90)
    stride = rng.choice([1, 1, 2])
    arguments: dict[str, Any] = dict(
        stride=stride,
        dilation=rng.choice([1, 1, 2, 4]),
        gate=GATE if rng.random() < 0.9 else None,
        norm_cfg=BN,
        downsample=_shortcut(rng, channels, out_channels, stride),
    )
    if rng.random() < 0.5:
        block = GatedBasicBlock(channels, mid_channels, out_channels, **arguments)
        return block, out_channels
    arguments["gate_positions"] = rng.choice(["both", "conv1", "conv2"])
    return GatedBottleneck(channels, mid_channels, out_channels, **arguments), out_channels


def _shortcut(
    rng: random.Random, channels: int, out_channels: int, stride: int
) -> nn.Module | None:
    if stride == 1 and channels == out_channels and rng.random() < 0.7:
        return None
    if stride == 2 and out_channels >= channels and rng.random() < 0.3:
        return SubsampleShortcut(out_channels - channels, 2)
    conv_stride, layers = stride, []
    if rng.random() < 0.3:
        layers = [nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)]
        conv_stride = 1
    conv = nn.Conv2d(channels, out_channels, 1, conv_stride, bias=False)
    return nn.Sequential(*layers, conv, nn.BatchNorm2d(out_channels))


def randomized(model: nn.Module) -> nn.Module:
    """With statistics as after training; in evaluation mode, norms folded."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return folded(model.eval())


def random_logits(rng: random.Random, model: nn.Module, num_images: int) -> list[Tensor]:
    """For each gate: none, some or all open, differently for each image."""
    logits = []
    for gate in named_gates(model).values():
        fractions = torch.tensor([[rng.choice([0.0, 0.3, 0.6, 1.0])] for _ in range(num_images)])
        gates = torch.rand(num_images, gate.num_gates) < fractions
        logits.append(gates.float() - 0.5)
    return logits
