"""Basic block whose inner representation is gated: the paper's equation 4.

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


class GatedBasicBlock(GatedResidualBlock):
    """``relu(norm2(conv2(gates * relu(norm1(conv1 x)))) + shortcut(x))``.

    Args:
        in_channels: Channels of the input.
        mid_channels: Channels of the inner representation, which the paper gates: G =
            mid_channels. With :class:`BlockWidths` some of them may be always open.
        out_channels: Channels of the output.
        stride: Stride of the first convolution.
        dilation: Dilation of the first convolution (as in the hosts).
        gate: Config of the gate; None for a plain block.
        gate_positions: See :func:`mmbas.blocks.gate_seats`. With one inner representation
            ``'both'`` and ``'conv1'`` are the same; there is no ``'conv2'`` and no ``'shared'``.
        gate_grid: Tiles along the height and along the width for ``gate_positions='tiles'``.
        norm_cfg: Config of the norm layers.
        downsample: Shortcut module; None is the identity.
        with_cp: See :class:`GatedResidualBlock`.

    Raises:
        ValueError: If gate_positions asks for gates that the block cannot have.
    """

    expansion = 1
    num_inner = 1

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
        (channels,) = widths.channels
        seats = gate_seats(gate_positions, widths, out_channels, grid=gate_grid)
        super().__init__(
            out_channels,
            gate=build_gate(gate, in_channels, seats, norm_cfg),
            seats=seats,
            downsample=downsample,
            with_cp=with_cp,
        )
        self.conv1 = conv3x3(in_channels, channels, stride=stride, dilation=dilation)
        self.add_norm(norm_cfg, channels)
        self.conv2 = conv3x3(channels, out_channels)
        self.add_norm(norm_cfg, out_channels)

    def residual(self, x: Tensor, gates: Tensor | None) -> Tensor:
        """See :meth:`GatedResidualBlock.residual`."""
        norm1, norm2 = self.norms
        x = self.switch_output(0, F.relu(norm1(self.conv1(x)), inplace=True), gates)
        return self.switch_output(1, norm2(self.conv2(x)), gates)

    @property
    def convs(self) -> list[nn.Conv2d]:
        """See :meth:`GatedResidualBlock.convs`."""
        return [self.conv1, self.conv2]
