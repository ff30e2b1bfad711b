"""Layers of the ResNets that are no blocks, in the hosts' layout."""

from __future__ import annotations

from typing import Any

from mmcv.cnn import build_norm_layer
from torch import nn


def deep_stem_layers(norm_cfg: dict[str, Any]) -> nn.Sequential:
    """Three 3x3 convolutions with norm and ReLU (V1c), in mmseg's layout."""
    layers: list[nn.Module] = []
    for in_channels, out_channels, stride in ((3, 32, 2), (32, 32, 1), (32, 64, 1)):
        layers += [
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
            build_norm_layer(norm_cfg, out_channels)[1],
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def projection(
    in_channels: int, out_channels: int, stride: int, *, avg_down: bool, norm_cfg: dict[str, Any]
) -> nn.Sequential:
    """Shortcut by a 1x1 convolution with norm; with ``avg_down`` after average pooling (V1d)."""
    layers: list[nn.Module] = []
    if avg_down:
        layers.append(nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False))
    layers += [
        nn.Conv2d(in_channels, out_channels, 1, 1 if avg_down else stride, bias=False),
        build_norm_layer(norm_cfg, out_channels)[1],
    ]
    return nn.Sequential(*layers)
