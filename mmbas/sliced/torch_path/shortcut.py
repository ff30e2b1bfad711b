"""The shortcut of a residual block on feature maps held as (N, H, W, C)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from mmbas.backbones.description import Shortcut
from mmbas.sliced.torch_path.fused_ops import linear


def shortcut_function(shortcut: Shortcut) -> Callable[[Tensor], Tensor]:
    """Function from a block's input, shape (N, H, W, C), to the shortcut, (N, H', W', C')."""
    layer, module = shortcut.layer, shortcut.module
    if layer is not None and shortcut.pool is None and _is_pointwise(layer.conv):
        return PointwiseShortcut(layer.conv)
    return lambda x: module(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()


class PointwiseShortcut:
    """A 1x1 convolution as a matrix product, which reorders no weights.

    Args:
        conv: Without padding, not grouped.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv = conv

    def __call__(self, x: Tensor) -> Tensor:
        """See :func:`shortcut_function`."""
        conv = self.conv
        x = x[:, :: conv.stride[0], :: conv.stride[1]]
        bias = conv.bias if conv.bias is not None else x.new_zeros(conv.out_channels)
        out = linear(x.reshape(-1, x.shape[3]), conv.weight.flatten(1), bias, relu=False)
        return out.view(*x.shape[:3], conv.out_channels)


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == (1, 1) and conv.padding == (0, 0) and conv.groups == 1
