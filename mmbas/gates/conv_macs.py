"""Costs of a convolution.

MACs are the multiply-accumulates of convolutions and linear layers: output positions times output
channels times input channels per group times kernel size. Biases, normalisation, activations and
pooling do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class GatedConvMACs:
    """Cost of one convolution that has gates at its input channels, its output channels, or both.

    A convolution costs the same for each pair of an input and an output channel, so its
    conditional cost is ``macs * fraction of open inputs * fraction of open outputs``; so are the
    weights that it reads.
    A gate on a whole branch is a single gate at the outputs of all its convolutions. Gates at
    positions are a third factor of the MACs, but not of the weights: one open position reads them.

    Attributes:
        macs: MACs for one image when all gates are open.
        inputs: Gates of the block at the input channels; None if ungated.
        outputs: Gates of the block at the output channels; None if ungated.
        params: Weights that are used when all gates are open.
        positions: Gates of the block at equal parts of the output positions; None if ungated.
    """

    macs: int
    inputs: slice | None = None
    outputs: slice | None = None
    params: int = 0
    positions: slice | None = None


def conv_macs(conv: nn.modules.conv._ConvNd, num_positions: int) -> int:
    """MACs of a convolution for ``num_positions`` output positions (height times width)."""
    return num_positions * conv.weight.numel()


def is_linear(module: nn.Module) -> bool:
    """Tell whether a module is a linear layer, of numbers or quantised."""
    # Looked up directly: hasattr of what a module lacks is slow, and every count asks all modules.
    quantised = "_packed_params" in module._modules and "in_features" in vars(module)
    return quantised or isinstance(module, nn.Linear)


def linear_macs(module: Any) -> int:
    """MACs of a linear layer for one vector; the weights of a quantised one are packed."""
    if isinstance(module, nn.Linear):
        return module.weight.numel()
    return int(module.in_features * module.out_features)


def conv_output_size(conv: nn.Conv2d, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a convolution's output for an input of height and width ``size``.

    Raises:
        TypeError: If ``conv`` is none, or pads by a name such as ``'same'``.
    """
    if not isinstance(conv, nn.Conv2d):
        raise TypeError(
            f"expected a Conv2d, whose cost is known, but got {type(conv).__name__}; merge what "
            "wraps or replaces the convolution first"
        )
    if isinstance(conv.padding, str):
        raise TypeError(f"expected padding as numbers, but got {conv.padding!r}")
    height, width = (
        (size[i] + 2 * conv.padding[i] - conv.dilation[i] * (conv.kernel_size[i] - 1) - 1)
        // conv.stride[i]
        + 1
        for i in range(2)
    )
    return height, width
