"""Costs of a gated ResNet, in closed form of the image size.

MACs are those of :mod:`mmbas.gates.conv_macs`. Nothing is run: the sizes of the feature maps follow
from strides and paddings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from mmbas.blocks import GatedResidualBlock
from mmbas.gates import Gate, GatedConvMACs
from mmbas.gates.conv_macs import conv_macs, conv_output_size

Size = tuple[int, int]


@dataclass(frozen=True)
class NetworkCosts:
    """Costs for one image of one size.

    Attributes:
        module_macs: MACs with all gates open, by the names of the layers in the network.
        gated_convs: Convolutions that each gate switches, in the order of the blocks.
    """

    module_macs: dict[str, int]
    gated_convs: dict[Gate, tuple[GatedConvMACs, ...]]


def network_costs(
    stem: Mapping[str, nn.Conv2d],
    max_pool: nn.MaxPool2d | None,
    stages: Mapping[str, nn.Sequential],
    size: Size,
) -> NetworkCosts:
    """Costs of stem, pooling and stages for an image of height and width ``size``.

    Args:
        stem: The stem's convolutions by name, in order.
        max_pool: Pooling that follows them, or None.
        stages: Stages by name, each a sequence of :class:`GatedResidualBlock`.
        size: Height and width of the image.
    """
    macs: dict[str, int] = {}
    convs: dict[Gate, tuple[GatedConvMACs, ...]] = {}
    for name, conv in stem.items():
        size = _add_conv(macs, name, conv, size)
    if max_pool is not None:
        size = _pooled_size(max_pool, size)
    for name, block in _named_blocks(stages):
        size = _add_block(macs, convs, name, block, size)
    return NetworkCosts(macs, convs)


def _named_blocks(
    stages: Mapping[str, nn.Sequential],
) -> Iterator[tuple[str, GatedResidualBlock]]:
    for name, stage in stages.items():
        for index, block in enumerate(stage):  # a block that stands twice costs twice
            if not isinstance(block, GatedResidualBlock):
                raise TypeError(
                    f"expected blocks of the class GatedResidualBlock in {name}, but got "
                    f"{type(block).__name__}"
                )
            yield f"{name}.{index}", block


def _add_block(
    macs: dict[str, int],
    convs: dict[Gate, tuple[GatedConvMACs, ...]],
    name: str,
    block: GatedResidualBlock,
    size: Size,
) -> Size:
    """Add a block's costs; returns the size of its output."""
    if block.gate is not None:
        convs[block.gate] = block.gated_convs(size)
        for layer, cost in block.gate.module_macs(size).items():
            macs[f"{name}.gate.{layer}"] = cost
    out = size
    names = {module: child for child, module in block.named_children()}
    for conv in block.convs:
        out = _add_conv(macs, f"{name}.{names[conv]}", conv, out)
    if block.downsample is not None:
        _add_shortcut(macs, f"{name}.downsample", block.downsample, size)
    return out


def _add_shortcut(macs: dict[str, int], name: str, shortcut: nn.Module, size: Size) -> None:
    for child, module in shortcut.named_children():
        if isinstance(module, nn.AvgPool2d):
            size = _pooled_size(module, size)
        elif isinstance(module, nn.Conv2d):
            size = _add_conv(macs, f"{name}.{child}", module, size)


def _add_conv(macs: dict[str, int], name: str, conv: nn.Conv2d, size: Size) -> Size:
    size = conv_output_size(conv, size)
    macs[name] = conv_macs(conv, size[0] * size[1])
    return size


def _pooled_size(pool: nn.MaxPool2d | nn.AvgPool2d, size: Size) -> Size:
    """Height and width after a pooling with square windows, not dilated."""
    height, width = (_pooled_length(pool, length) for length in size)
    return height, width


def _pooled_length(pool: Any, length: int) -> int:
    room = length + 2 * pool.padding - pool.kernel_size
    if not pool.ceil_mode:
        return room // pool.stride + 1
    count = -(-room // pool.stride) + 1
    # torch starts no window beyond the padded input.
    return count - 1 if (count - 1) * pool.stride >= length + pool.padding else count
