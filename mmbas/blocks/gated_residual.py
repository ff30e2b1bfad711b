"""Residual blocks with a gate, which switches channels, tiles, or the block itself.

B. E. Bejnordi, T. Blankevoort, M. Welling: Batch-Shaping for Learning Conditional Channel Gated
Networks, ICLR 2020, https://arxiv.org/abs/1907.06627 (section 4, eq. 4)
K. He et al.: Deep Residual Learning for Image Recognition, CVPR 2016, https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import constant_init
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmbas.blocks.gate_seats import GateSeats, check_tiles, tile_mask
from mmbas.gates.conv_macs import GatedConvMACs, conv_macs, conv_output_size
from mmbas.gates.gate import Gate
from mmbas.gates.memo import Memo
from mmbas.registry import MODELS, type_name


def switch(x: Tensor, gates: Tensor | None) -> Tensor:
    """``x * gates``: the channels of ``x``, shape (N, C, H, W), by ``gates``, (N, C) or (N, 1).

    None leaves all channels open.
    """
    return x if gates is None else x * gates.to(x.dtype)[:, :, None, None]


def conv3x3(
    in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """3x3 convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(
        in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False
    )


class GatedResidualBlock(nn.Module):
    """Base of both blocks: norms named as in the hosts, shortcut, checkpointing, gate.

    Args:
        out_channels: Channels of the block's output.
        gate: The block's gate; None for a plain block.
        seats: Parts of the block that the gates multiply.
        downsample: Shortcut from the input to the output's shape; None is the identity.
        with_cp: Recompute the residual branch in the backward pass to save memory. The gate is
            computed outside: its loss needs its graph.

    Attributes:
        expansion: Channels of the output by those of a standard inner representation.
        num_inner: Inner representations, one fewer than convolutions.
    """

    expansion: ClassVar[int]
    num_inner: ClassVar[int]

    def __init__(
        self,
        out_channels: int,
        *,
        gate: Gate | None,
        seats: GateSeats,
        downsample: nn.Module | None,
        with_cp: bool,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.gate = gate
        self.seats = seats
        self.downsample = downsample
        self.with_cp = with_cp
        self._norm_names: list[str] = []
        self._gated_convs: Memo[tuple[int, int], tuple[GatedConvMACs, ...]] = Memo()

    def add_norm(self, norm_cfg: dict[str, Any], num_channels: int) -> None:
        """Append the next norm layer, ``bn1``, ``bn2``, ... (``gn1`` for group norm)."""
        name, norm = build_norm_layer(norm_cfg, num_channels, postfix=len(self._norm_names) + 1)
        self.add_module(name, norm)
        self._norm_names.append(name)

    @property
    def norms(self) -> list[nn.Module]:
        """The norm layers of the residual branch in order."""
        return [self.get_submodule(name) for name in self._norm_names]

    @property
    def norm1(self) -> nn.Module:
        """The first norm layer, by the hosts' name for it."""
        return self.norms[0]

    @property
    def norm2(self) -> nn.Module:
        """The second norm layer, by the hosts' name for it."""
        return self.norms[1]

    def zero_init(self) -> None:
        """Start as the identity: the last norm layer's scale becomes 0."""
        constant_init(self.norms[-1], 0)

    @property
    def convs(self) -> list[nn.Conv2d]:
        """The convolutions of the residual branch in order."""
        raise NotImplementedError

    @property
    def inner_gates(self) -> list[slice | None]:
        """Gates of the block that switch each inner representation; one fewer than convs."""
        return self.seats.inner

    def gated_convs(self, size: tuple[int, int]) -> tuple[GatedConvMACs, ...]:
        """Cost of the gated convolutions for an input of height and width ``size``."""
        if torch.compiler.is_compiling():  # a cache would be one more thing to guard
            return self._compute_gated_convs(size)
        return self._gated_convs.get(size, self._compute_gated_convs)

    def _compute_gated_convs(self, size: tuple[int, int]) -> tuple[GatedConvMACs, ...]:
        seats, costs = self.seats, []
        inputs_of = [None, *seats.inner]
        for conv, inputs, outputs in zip(self.convs, inputs_of, seats.outputs, strict=True):
            size = conv_output_size(conv, size)
            outputs = outputs or seats.branch
            if inputs or outputs or seats.tiles:
                macs = conv_macs(conv, size[0] * size[1])
                params = conv.weight.numel()
                costs.append(GatedConvMACs(macs, inputs, outputs, params, seats.tiles))
        if seats.tiles is not None:
            check_tiles(seats.grid, size)
        return tuple(costs)

    def residual(self, x: Tensor, gates: Tensor | None) -> Tensor:
        """The residual branch, before the shortcut is added.

        Args:
            x: The block's input, shape (N, C, H, W).
            gates: The block's gates, shape (N, G); None leaves all channels open.
        """
        raise NotImplementedError

    def switch_output(self, index: int, x: Tensor, gates: Tensor | None) -> Tensor:
        """Multiply the output ``x`` of the normed convolution ``index`` by the gates at it.

        Inner maps are masked by tiles in evaluation only, as in the method that has them: then they
        cost what is counted.
        """
        if gates is None:
            return x
        seats, last = self.seats, index == len(self.seats.outputs) - 1
        seat = seats.outputs[index]
        if last and seats.branch is not None and seats.merge == "branch":
            seat = seats.branch
        x = switch(x, None if seat is None else gates[:, seat])
        if seats.tiles is not None and (last or not self.training):
            x = x * tile_mask(gates[:, seats.tiles], seats.grid, x.shape[2:]).to(x.dtype)
        return x

    def _decide(self, gate: Gate, x: Tensor) -> Tensor:
        """Factors, shape (N, G), for a block input ``x``, shape (N, C, H, W)."""
        size = (int(x.shape[2]), int(x.shape[3]))  # when tracing, a shape holds tensors
        return gate(x, self.gated_convs(size)).multiplier

    def forward(self, x: Tensor) -> Tensor:
        """Block output, shape (N, out_channels, H', W'), for input ``x``, shape (N, C, H, W)."""
        gates = None if self.gate is None else self._decide(self.gate, x)
        if self.with_cp and x.requires_grad:
            out = checkpoint(self.residual, x, gates, use_reentrant=False)
        else:
            out = self.residual(x, gates)
        shortcut = x if self.downsample is None else self.downsample(x)
        out += shortcut
        out = F.relu(out, inplace=True)
        if gates is None or self.seats.merge == "branch":
            return out
        gate = gates[:, self.seats.branch, None, None].to(out.dtype)
        return gate * out + (1 - gate) * shortcut


def build_gate(
    gate: dict[str, Any] | None, in_channels: int, seats: GateSeats, norm_cfg: dict[str, Any]
) -> Gate | None:
    """Build a block's gate; its normalisation is synchronised where the block's is.

    Args:
        gate: Config of the gate; None gives no gate.
        in_channels: Channels of the block's input.
        seats: Parts of the block that the gates multiply. If all gates are always open, the block
            needs none.
        norm_cfg: Config of the block's norm layers.
    """
    if gate is None:
        return None
    if not isinstance(gate, dict) or "type" not in gate:
        raise TypeError(
            f"expected gate to be a config such as dict(type='mmbas.ChannelGate'), but got {gate!r}"
        )
    if len(seats.always_open) == seats.num_gates:
        return None
    arguments: dict[str, Any] = dict(in_channels=in_channels, num_gates=seats.num_gates)
    if seats.always_open:
        arguments.update(always_open=list(seats.always_open))
    if seats.tiles is not None:
        arguments.update(grid=seats.grid)
    built: Any = MODELS.build({**gate, **arguments})
    if not isinstance(built, Gate):
        raise TypeError(f"expected gate to be a config of a mmbas gate, but got {gate}")
    if type_name(norm_cfg) in ("SyncBN", "SyncBatchNorm"):
        built = nn.SyncBatchNorm.convert_sync_batchnorm(built)
    return built
