"""Bottleneck block with gates on its inner representations.

B. E. Bejnordi, T. Blankevoort, M. Welling: Batch-Shaping for Learning Conditional Channel Gated
Networks, ICLR 2020, https://arxiv.org/abs/1907.06627 (section 4, eq. 4)
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.blocks.block_widths import BlockWidths, as_widths
from mmbas.blocks.gate_seats import gate_seats
from mmbas.blocks.gated_residual import GatedResidualBlock, build_gate, conv3x3


class GatedBottleneck(GatedResidualBlock):
    """Bottleneck with gates on its inner representations.

    ``relu(norm3(conv3(gates2 * relu(norm2(conv2(gates1 * relu(norm1(conv1 x))))))) + shortcut(x))``

    Args:
        in_channels: Channels of the input.
        mid_channels: Channels of both inner representations, or their :class:`BlockWidths`.
        out_channels: Channels of the output.
        stride: Stride of the 3x3 convolution.
        dilation: Dilation of the 3x3 convolution.
        gate: Config of the gate; None for a plain block.
        gate_positions: ``'conv1'`` gates the output of conv1, ``'conv2'`` that of conv2, ``'both'``
            both, with one gate network whose logits are those after conv1, then those after conv2.
            The others are told by :func:`mmbas.blocks.gate_seats`.
        gate_grid: Tiles along the height and along the width for ``gate_positions='tiles'``.
        norm_cfg: Config of the norm layers.
        downsample: Shortcut module; None is the identity.
        with_cp: See :class:`GatedResidualBlock`.

    Note:
        The paper does not say where a bottleneck is gated; ``'both'`` fits its table 1 best.
    """

    expansion = 4
    num_inner = 2

    def __init__(
        self,
        in_channels: int,
        mid_channels: int | BlockWidths,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        gate: dict[str, Any] | None,
        gate_positions: str = "both",
        gate_grid: int = 0,
        norm_cfg: dict[str, Any],
        downsample: nn.Module | None = None,
        with_cp: bool = False,
    ) -> None:
        widths = as_widths(mid_channels, num_inner=self.num_inner)
        channels1, channels2 = widths.channels
        seats = gate_seats(gate_positions, widths, out_channels, grid=gate_grid)
        super().__init__(
            out_channels,
            gate=build_gate(gate, in_channels, seats, norm_cfg),
            seats=seats,
            downsample=downsample,
            with_cp=with_cp,
        )
        self.gates_after_conv1, self.gates_after_conv2 = seats.inner
        self.conv1 = nn.Conv2d(in_channels, channels1, 1, bias=False)
        self.add_norm(norm_cfg, channels1)
        self.conv2 = conv3x3(channels1, channels2, stride=stride, dilation=dilation)
        self.add_norm(norm_cfg, channels2)
        self.conv3 = nn.Conv2d(channels2, out_channels, 1, bias=False)
        self.add_norm(norm_cfg, out_channels)

    def residual(self, x: Tensor, gates: Tensor | None) -> Tensor:
        """See :meth:`GatedResidualBlock.residual`."""
        norm1, norm2, norm3 = self.norms
        x = self.switch_output(0, F.relu(norm1(self.conv1(x)), inplace=True), gates)
        x = self.switch_output(1, F.relu(norm2(self.conv2(x)), inplace=True), gates)
        return self.switch_output(2, norm3(self.conv3(x)), gates)

    @property
    def norm3(self) -> nn.Module:
        """The third norm layer, by the hosts' name for it."""
        return self.norms[2]

    @property
    def convs(self) -> list[nn.Conv2d]:
        """See :meth:`GatedResidualBlock.convs`."""
        return [self.conv1, self.conv2, self.conv3]
