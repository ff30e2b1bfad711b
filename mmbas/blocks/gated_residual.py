"""Residual blocks whose inner channels are switched by a gate.

B. E. Bejnordi, T. Blankevoort, M. Welling: Batch-Shaping for Learning Conditional Channel Gated
Networks, ICLR 2020, https://arxiv.org/abs/1907.06627 (section 4, eq. 4)
K. He et al.: Deep Residual Learning for Image Recognition, CVPR 2016, https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_norm_layer
from mmengine.model import constant_init
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmbas.blocks.block_widths import BlockWidths, as_widths
from mmbas.gates.conv_macs import GatedConvMACs, conv_macs, conv_output_size
from mmbas.gates.gate import Gate
from mmbas.registry import MODELS

GATE_POSITIONS = ("both", "conv1", "conv2")


def switch_channels(x: Tensor, gates: Tensor) -> Tensor:
    """Multiply the channels of ``x``, shape (N, C, H, W), by ``gates``, shape (N, C)."""
    return x * gates.to(x.dtype)[:, :, None, None]


def conv3x3(
    in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """3x3 convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(
        in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False
    )


class GatedResidualBlock(nn.Module):
    """What both blocks share: norms named as in the hosts, shortcut, checkpointing, gate.

    Args:
        out_channels: Channels of the block's output.
        gate: The block's gate; None for a plain block.
        downsample: Shortcut from the input to the output's shape; None is the identity.
        with_cp: Recompute the residual branch in the backward pass to save memory. The gate is
            computed outside: its loss needs its graph.
    """

    def __init__(
        self, out_channels: int, *, gate: Gate | None, downsample: nn.Module | None, with_cp: bool
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.gate = gate
        self.downsample = downsample
        self.with_cp = with_cp
        self._norm_names: list[str] = []

    def add_norm(self, norm_cfg: dict[str, Any], num_channels: int) -> None:
        """Append the next norm layer, ``bn1``, ``bn2``, ... (``gn1`` for group norm)."""
        name, norm = build_norm_layer(norm_cfg, num_channels, postfix=len(self._norm_names) + 1)
        self.add_module(name, norm)
        self._norm_names.append(name)

    @property
    def norms(self) -> list[nn.Module]:
        """The norm layers of the residual branch in order."""
        return [self.get_submodule(name) for name in self._norm_names]

    def zero_init(self) -> None:
        """Start as the identity: the last norm layer's scale becomes 0."""
        constant_init(self.norms[-1], 0)

    @property
    def convs(self) -> list[nn.Conv2d]:
        """The convolutions of the residual branch in order."""
        raise NotImplementedError

    @property
    def inner_gates(self) -> list[slice | None]:
        """Which of the block's gates switch each inner representation; one fewer than convs."""
        raise NotImplementedError

    def gated_convs(self, x: Tensor) -> tuple[GatedConvMACs, ...]:
        """Cost of the gated convolutions at the size of the input ``x``, shape (N, C, H, W)."""
        size = (x.shape[2], x.shape[3])
        costs = []
        inputs_of = [None, *self.inner_gates]
        outputs_of = [*self.inner_gates, None]
        for conv, inputs, outputs in zip(self.convs, inputs_of, outputs_of, strict=True):
            size = conv_output_size(conv, size)
            if inputs or outputs:
                macs = conv_macs(conv, size[0] * size[1])
                costs.append(GatedConvMACs(macs, inputs, outputs, params=conv.weight.numel()))
        return tuple(costs)

    def residual(self, x: Tensor, gates: Tensor | None) -> Tensor:
        """The residual branch before the shortcut is added."""
        *inner, (last_conv, last_norm) = zip(self.convs, self.norms, strict=True)
        for (conv, norm), gated in zip(inner, self.inner_gates, strict=True):
            x = F.relu(norm(conv(x)), inplace=True)
            if gates is not None and gated:
                x = switch_channels(x, gates[:, gated])
        out: Tensor = last_norm(last_conv(x))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Block output, shape (N, out_channels, H', W'), for input ``x``, shape (N, C, H, W)."""
        gates = None if self.gate is None else self.gate(x, self.gated_convs(x)).gates
        if self.with_cp and x.requires_grad:
            out = checkpoint(self.residual, x, gates, use_reentrant=False)
        else:
            out = self.residual(x, gates)
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)


class GatedBasicBlock(GatedResidualBlock):
    """``relu(norm2(conv2(gates * relu(norm1(conv1 x)))) + shortcut(x))``.

    Args:
        in_channels: Channels of the input.
        mid_channels: Channels of the inner representation, the gated one; G = mid_channels. With
            :class:`BlockWidths` some of them may be always open.
        out_channels: Channels of the output.
        stride: Of the first convolution.
        dilation: Of the first convolution (as in the hosts).
        gate: Config of the gate; None for a plain block.
        norm_cfg: Config of the norm layers.
        downsample: Shortcut module; None is the identity.
        with_cp: See :class:`GatedResidualBlock`.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        mid_channels: int | BlockWidths,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        gate: dict[str, Any] | None,
        norm_cfg: dict[str, Any],
        downsample: nn.Module | None = None,
        with_cp: bool = False,
    ) -> None:
        widths = as_widths(mid_channels, num_inner=1)
        (channels,) = widths.channels
        super().__init__(
            out_channels,
            gate=build_gate(gate, in_channels, widths, norm_cfg),
            downsample=downsample,
            with_cp=with_cp,
        )
        self.conv1 = conv3x3(in_channels, channels, stride=stride, dilation=dilation)
        self.add_norm(norm_cfg, channels)
        self.conv2 = conv3x3(channels, out_channels)
        self.add_norm(norm_cfg, out_channels)

    @property
    def convs(self) -> list[nn.Conv2d]:
        """See :meth:`GatedResidualBlock.convs`."""
        return [self.conv1, self.conv2]

    @property
    def inner_gates(self) -> list[slice | None]:
        """See :meth:`GatedResidualBlock.inner_gates`."""
        return [slice(None)]


class GatedBottleneck(GatedResidualBlock):
    """Bottleneck with gates on its inner representations.

    ``relu(norm3(conv3(gates2 * relu(norm2(conv2(gates1 * relu(norm1(conv1 x))))))) + shortcut(x))``

    Args:
        in_channels: Channels of the input.
        mid_channels: Channels of both inner representations, or their :class:`BlockWidths`.
        out_channels: Channels of the output.
        stride: Of the 3x3 convolution.
        dilation: Of the 3x3 convolution.
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
        widths = as_widths(mid_channels, num_inner=2)
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

    @property
    def convs(self) -> list[nn.Conv2d]:
        """See :meth:`GatedResidualBlock.convs`."""
        return [self.conv1, self.conv2, self.conv3]

    @property
    def inner_gates(self) -> list[slice | None]:
        """See :meth:`GatedResidualBlock.inner_gates`."""
        return [self.gates_after_conv1, self.gates_after_conv2]


def build_gate(
    gate: dict[str, Any] | None, in_channels: int, widths: BlockWidths, norm_cfg: dict[str, Any]
) -> Gate | None:
    """Build a block's gate; its normalisation is synchronised where the block's is.

    Args:
        gate: Config of the gate; None gives no gate.
        in_channels: Channels of the block's input.
        widths: Of the gated inner representations; if all their channels are always open, the
            block needs no gate.
        norm_cfg: Config of the block's norm layers.
    """
    if gate is None:
        return None
    if not isinstance(gate, dict) or "type" not in gate:
        raise TypeError(
            f"expected gate to be a config such as dict(type='mmbas.ChannelGate'), but got {gate!r}"
        )
    if widths.always_open == widths.channels:
        return None
    arguments: dict[str, Any] = dict(in_channels=in_channels, num_gates=sum(widths.channels))
    if any(widths.always_open):
        arguments.update(always_open=widths.always_open_gates)
    built: Any = MODELS.build({**gate, **arguments})
    if not isinstance(built, Gate):
        raise TypeError(f"expected gate to be a config of a mmbas gate, but got {gate}")
    if norm_cfg["type"] == "SyncBN":
        built = nn.SyncBatchNorm.convert_sync_batchnorm(built)
    return built


def _split_gates(
    gate_positions: str, widths: BlockWidths
) -> tuple[Sequence[int], tuple[slice | None, slice | None]]:
    """Which inner representations are gated, and which of the gates stand after conv1 and conv2."""
    if gate_positions == "both":
        first, second = widths.channels
        return (0, 1), (slice(0, first), slice(first, first + second))
    if gate_positions == "conv1":
        return (0,), (slice(None), None)
    if gate_positions == "conv2":
        return (1,), (None, slice(None))
    raise ValueError(f"expected gate_positions in {GATE_POSITIONS}, but got {gate_positions!r}")
