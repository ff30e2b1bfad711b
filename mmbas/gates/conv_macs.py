"""Costs of a convolution.

MACs are the multiply-accumulates of convolutions and linear layers: output positions times output
channels times input channels per group times kernel size. Biases, normalisation, activations and
pooling do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class GatedConvMACs:
    """Cost of one convolution that has gates at its input channels, its output channels, or both.

    A convolution costs the same for each pair of an input and an output channel, so its
    conditional cost is ``macs * fraction of open inputs * fraction of open outputs``; so are the
    weights that it reads.
    A gate on a whole branch is a single gate at the outputs of all its convolutions.

    Attributes:
        macs: MACs for one image when all gates are open.
        inputs: Gates of the block at the input channels; None if ungated.
        outputs: Gates of the block at the output channels; None if ungated.
        params: Weights that are used when all gates are open; 0 where gates switch positions of
            the image, not weights.
    """

    macs: int
    inputs: slice | None = None
    outputs: slice | None = None
    params: int = 0


def conv_macs(conv: nn.modules.conv._ConvNd, num_positions: int) -> int:
    """MACs of a convolution for ``num_positions`` output positions (height times width)."""
    return num_positions * conv.weight.numel()


def conv_output_size(conv: nn.Conv2d, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a convolution's output for an input of height and width ``size``."""
    if isinstance(conv.padding, str):
        raise TypeError(f"expected padding as numbers, but got {conv.padding!r}")
    height, width = (
        (size[i] + 2 * conv.padding[i] - conv.dilation[i] * (conv.kernel_size[i] - 1) - 1)
        // conv.stride[i]
        + 1
        for i in range(2)
    )
    return height, width
