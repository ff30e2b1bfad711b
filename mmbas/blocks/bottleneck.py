"""Bottleneck block with gates on its inner representations.

B. E. Bejnordi, T. Blankevoort, M. Welling: Batch-Shaping for Learning Conditional Channel Gated
Networks, ICLR 2020, https://arxiv.org/abs/1907.06627 (section 4, eq. 4)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.blocks.block_widths import BlockWidths, as_widths
from mmbas.blocks.gated_residual import GatedResidualBlock, build_gate, conv3x3, switch

GATE_POSITIONS = ("both", "conv1", "conv2")


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
        norm_cfg: dict[str, Any],
        downsample: nn.Module | None = None,
        with_cp: bool = False,
    ) -> None:
        widths = as_widths(mid_channels, num_inner=self.num_inner)
        channels1, channels2 = widths.channels
        gated_positions, (first, second) = _split_gates(gate_positions, widths)
        super().__init__(
            out_channels,
            gate=build_gate(gate, in_channels, widths.gated(gated_positions), norm_cfg),
            downsample=downsample,
            with_cp=with_cp,
        )
        self.gates_after_conv1 = first
        self.gates_after_conv2 = second
        self.conv1 = nn.Conv2d(in_channels, channels1, 1, bias=False)
        self.add_norm(norm_cfg, channels1)
        self.conv2 = conv3x3(channels1, channels2, stride=stride, dilation=dilation)
        self.add_norm(norm_cfg, channels2)
        self.conv3 = nn.Conv2d(channels2, out_channels, 1, bias=False)
        self.add_norm(norm_cfg, out_channels)

    def residual(self, x: Tensor, gates: Tensor | None) -> Tensor:
        """See :meth:`GatedResidualBlock.residual`."""
        norm1, norm2, norm3 = self.norms
        gates1 = _select(gates, self.gates_after_conv1)
        gates2 = _select(gates, self.gates_after_conv2)
        x = switch(F.relu(norm1(self.conv1(x)), inplace=True), gates1)
        x = switch(F.relu(norm2(self.conv2(x)), inplace=True), gates2)
        out: Tensor = norm3(self.conv3(x))
        return out

    @property
    def norm3(self) -> nn.Module:
        """The third norm layer, by the hosts' name for it."""
        return self.norms[2]

    @property
    def convs(self) -> list[nn.Conv2d]:
        """See :meth:`GatedResidualBlock.convs`."""
        return [self.conv1, self.conv2, self.conv3]

    @property
    def inner_gates(self) -> list[slice | None]:
        """See :meth:`GatedResidualBlock.inner_gates`."""
        return [self.gates_after_conv1, self.gates_after_conv2]


def _select(gates: Tensor | None, selected: slice | None) -> Tensor | None:
    """The gates of one inner representation; None if it has none."""
    return None if gates is None or selected is None else gates[:, selected]


def _split_gates(
    gate_positions: str, widths: BlockWidths
) -> tuple[Sequence[int], tuple[slice | None, slice | None]]:
    """Gated inner representations, and the gates that stand after conv1 and after conv2."""
    if gate_positions == "both":
        first, second = widths.channels
        return (0, 1), (slice(0, first), slice(first, first + second))
    if gate_positions == "conv1":
        return (0,), (slice(None), None)
    if gate_positions == "conv2":
        return (1,), (None, slice(None))
    raise ValueError(f"expected gate_positions in {GATE_POSITIONS}, but got {gate_positions!r}")
