"""Residual blocks whose inner channels are switched by a gate.

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

from mmbas.blocks.block_widths import BlockWidths
from mmbas.gates.conv_macs import GatedConvMACs, conv_macs, conv_output_size
from mmbas.gates.gate import Gate
from mmbas.gates.memo import Memo
from mmbas.registry import MODELS, type_name


def switch(x: Tensor, gates: Tensor | None) -> Tensor:
    """``x * gates``: the channels of ``x``, shape (N, C, H, W), by ``gates``, shape (N, C).

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
        self, out_channels: int, *, gate: Gate | None, downsample: nn.Module | None, with_cp: bool
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.gate = gate
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
        raise NotImplementedError

    def gated_convs(self, size: tuple[int, int]) -> tuple[GatedConvMACs, ...]:
        """Cost of the gated convolutions for an input of height and width ``size``."""
        if torch.compiler.is_compiling():  # a cache would be one more thing to guard
            return self._compute_gated_convs(size)
        return self._gated_convs.get(size, self._compute_gated_convs)

    def _compute_gated_convs(self, size: tuple[int, int]) -> tuple[GatedConvMACs, ...]:
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
        """The residual branch, before the shortcut is added.

        Args:
            x: The block's input, shape (N, C, H, W).
            gates: The block's gates, shape (N, G); None leaves all channels open.
        """
        raise NotImplementedError

    def _decide(self, gate: Gate, x: Tensor) -> Tensor:
        """The gates for a block input ``x``, shape (N, C, H, W)."""
        size = (int(x.shape[2]), int(x.shape[3]))  # when tracing, a shape holds tensors
        return gate(x, self.gated_convs(size)).gates

    def forward(self, x: Tensor) -> Tensor:
        """Block output, shape (N, out_channels, H', W'), for input ``x``, shape (N, C, H, W)."""
        gates = None if self.gate is None else self._decide(self.gate, x)
        if self.with_cp and x.requires_grad:
            out = checkpoint(self.residual, x, gates, use_reentrant=False)
        else:
            out = self.residual(x, gates)
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)


def build_gate(
    gate: dict[str, Any] | None, in_channels: int, widths: BlockWidths, norm_cfg: dict[str, Any]
) -> Gate | None:
    """Build a block's gate; its normalisation is synchronised where the block's is.

    Args:
        gate: Config of the gate; None gives no gate.
        in_channels: Channels of the block's input.
        widths: Widths of the gated inner representations. If all channels are always open, the
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
    if type_name(norm_cfg) in ("SyncBN", "SyncBatchNorm"):
        built = nn.SyncBatchNorm.convert_sync_batchnorm(built)
    return built
