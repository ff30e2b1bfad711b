"""ResNet-18/34/50/101/152 with a channel gate in every block.

B. E. Bejnordi, T. Blankevoort, M. Welling: Batch-Shaping for Learning Conditional Channel Gated
Networks, ICLR 2020, https://arxiv.org/abs/1907.06627
K. He et al.: Deep Residual Learning for Image Recognition, CVPR 2016, https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from mmbas.backbones.gate_plan import GatePlan
from mmbas.backbones.gated_backbone import GatedBackbone
from mmbas.backbones.resnet_layers import deep_stem_layers, projection
from mmbas.backbones.resnet_options import (
    BLOCKS_OF_DEPTH,
    check_host_options,
    check_options,
    check_stages,
    initialisation,
    warn_without_effect,
)
from mmbas.blocks import widths_of_blocks
from mmbas.gates import is_gate_parameter, named_gates
from mmbas.registry import MODELS

Config = dict[str, Any]

DEFAULT_GATE: Config = dict(type="mmbas.ChannelGate")
DEFAULT_NORM: Config = dict(type="BN", requires_grad=True)


@MODELS.register_module()
class GatedResNet(GatedBackbone):
    """ResNet whose state dict is the hosts' plus the gates.

    Weights of torchvision's ResNet, of mmpretrain's ResNet and of mmseg's ResNet, V1c
    (``deep_stem=True``) and V1d (and ``avg_down=True``) load into it. A checkpoint of a classifier
    serves as the backbone of a segmentor. (mmpretrain names the stem of its V1c and V1d
    otherwise.) The arguments mean what they mean in the hosts' ResNet.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_stages: 1 to 4.
        strides: Stride of each stage's first block.
        dilations: Dilation of each stage.
        contract_dilation: Halve the dilation of each stage's first block (as in mmseg).
        deep_stem: Three 3x3 convolutions instead of one 7x7 (V1c), in mmseg's layout.
        avg_down: Average pooling in the shortcuts (V1d), in mmseg's layout.
        out_indices: Stages whose output is returned.
        style: ``'pytorch'``, the stride in the 3x3 convolution; there is no other.
        frozen_stages: The stem and this many stages are not trained; -1 trains all. Gates still
            learn there: plain pretrained weights come without any.
        norm_cfg: Config of the norm layers; with SyncBN the gates synchronise too.
        norm_eval: Keep the statistics of the host's norm layers fixed, not those of the gates.
        with_cp: Recompute residual branches in the backward pass to save memory.
        zero_init_residual: Start each block as the identity.
        gate: Config of the gates; None gives the plain network.
        gate_positions: Placement of the gates, see :func:`mmbas.blocks.gate_seats`: inner channels,
            or the whole block, for example.
        gate_grid: Tiles along each axis in each stage for ``gate_positions='tiles'``; images need a
            height and width that they divide.
        plain_blocks: Numbers of the blocks without a gate, from 0 through all stages.
        gater: Config of a part that the gates share; None where each decides by itself.
        block_widths: Inner channels of each block, as ``tools/reduce.py`` writes them; see
            :func:`mmbas.blocks.widths_of_blocks`. None gives the standard network.
        pretrained: Short for ``init_cfg=dict(type='Pretrained', checkpoint=pretrained)``.
        init_cfg: Initialisation, as in mmengine.
        host_options: Other arguments of the hosts' ResNet, at their defaults (``dcn=None``).

    Example:
        >>> import torch
        >>> from mmbas.backbones import GatedResNet
        >>> from mmbas.gates import named_gates
        >>> backbone = GatedResNet(34, out_indices=(2, 3)).eval()
        >>> [tuple(features.shape) for features in backbone(torch.randn(1, 3, 64, 64))]
        [(1, 256, 4, 4), (1, 512, 2, 2)]
        >>> sum(gate.num_gates for gate in named_gates(backbone).values())
        3776
    """

    def __init__(
        self,
        depth: int,
        *,
        num_stages: int = 4,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        contract_dilation: bool = False,
        deep_stem: bool = False,
        avg_down: bool = False,
        out_indices: Sequence[int] = (3,),
        style: str = "pytorch",
        frozen_stages: int = -1,
        norm_cfg: Config = DEFAULT_NORM,
        norm_eval: bool = False,
        with_cp: bool = False,
        zero_init_residual: bool = True,
        gate: Config | None = DEFAULT_GATE,
        gate_positions: str = "both",
        gate_grid: Sequence[int] = (),
        plain_blocks: Sequence[int] = (),
        gater: Config | None = None,
        block_widths: Sequence[Config] | None = None,
        pretrained: str | None = None,
        init_cfg: Config | list[Config] | None = None,
        **host_options: Any,
    ) -> None:
        super().__init__(initialisation(init_cfg, pretrained))
        check_host_options(host_options)
        check_options(depth, style)
        check_stages(num_stages, strides, dilations, out_indices)
        if frozen_stages > num_stages:
            warn_without_effect(f"frozen_stages={frozen_stages}", f"there are {num_stages} stages")
        if contract_dilation and max(dilations[:num_stages]) == 1:
            warn_without_effect("contract_dilation=True", "no stage is dilated")
        if norm_eval and "BN" not in norm_cfg["type"]:
            warn_without_effect("norm_eval=True", f"{norm_cfg['type']} has no statistics")
        self.depth = depth
        self.contract_dilation = contract_dilation
        self.deep_stem = deep_stem
        self.avg_down = avg_down
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_cfg = norm_cfg
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.zero_init_residual = zero_init_residual
        self.gate = gate
        self.gate_positions = gate_positions
        self.block, self.num_blocks = BLOCKS_OF_DEPTH[depth]
        self._warn_of_positions()
        self._make_stem()
        self.stage_names = [f"layer{i + 1}" for i in range(num_stages)]
        plan = GatePlan(gate, gate_positions, gate_grid, plain_blocks)
        self.feat_dim = self._make_stages(strides, dilations, block_widths, plan)
        self.add_gater(gater, norm_cfg)
        self._freeze_stages()

    def _warn_of_positions(self) -> None:
        setting = f"gate_positions={self.gate_positions!r}"
        if self.gate_positions == "conv1" and self.block.num_inner == 1:
            warn_without_effect(setting, "a basic block has one inner representation", depth=4)
        elif self.gate_positions != "both" and self.gate is None:
            warn_without_effect(setting, "there are no gates", depth=4)

    def _make_stem(self) -> None:
        if self.deep_stem:
            self.stem = deep_stem_layers(self.norm_cfg)
        else:
            self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
            self._norm1_name, norm1 = build_norm_layer(self.norm_cfg, 64, postfix=1)
            self.add_module(self._norm1_name, norm1)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    def _make_stages(
        self,
        strides: Sequence[int],
        dilations: Sequence[int],
        block_widths: Sequence[Config] | None,
        plan: GatePlan,
    ) -> int:
        """Add the stages; returns the channels of the last one's output."""
        num_blocks = self.num_blocks[: len(self.stage_names)]
        plan.check(num_blocks=sum(num_blocks), num_stages=len(num_blocks))
        standard = [64 * 2**i for i, num in enumerate(num_blocks) for _ in range(num)]
        widths = iter(widths_of_blocks(block_widths, standard, num_inner=self.block.num_inner))
        numbers = itertools.count()
        in_channels = 64
        for i, name in enumerate(self.stage_names):
            out_channels = 64 * 2**i * self.block.expansion
            halve = self.contract_dilation and dilations[i] > 1
            blocks = []
            for j in range(num_blocks[i]):
                first = j == 0
                stride = strides[i] if first else 1
                block = self.block(
                    in_channels,
                    next(widths),
                    out_channels,
                    stride=stride,
                    dilation=dilations[i] // 2 if first and halve else dilations[i],
                    norm_cfg=self.norm_cfg,
                    downsample=self._make_downsample(in_channels, out_channels, stride),
                    with_cp=self.with_cp,
                    **plan.of_block(next(numbers), i),
                )
                blocks.append(block)
                in_channels = out_channels
            self.add_module(name, nn.Sequential(*blocks))
        return in_channels

    def _make_downsample(
        self, in_channels: int, out_channels: int, stride: int
    ) -> nn.Sequential | None:
        if stride == 1 and in_channels == out_channels:
            return None
        return projection(
            in_channels, out_channels, stride, avg_down=self.avg_down, norm_cfg=self.norm_cfg
        )

    @property
    def norm1(self) -> nn.Module:
        """Norm layer of the plain stem, by the hosts' name for it."""
        return self.get_submodule(self._norm1_name)

    @property
    def stem_pool(self) -> nn.MaxPool2d:
        """Pooling between stem and stages."""
        return self.maxpool

    @property
    def stem_modules(self) -> list[nn.Module]:
        """The modules before the pooling that hold parameters."""
        if self.deep_stem:
            return [self.stem]
        return [self.conv1, self.norm1]

    def init_own_weights(self) -> None:
        """See :meth:`GatedBackbone.init_own_weights`; with the zeros of ``zero_init_residual``."""
        super().init_own_weights()
        if self.zero_init_residual:
            for block in self.blocks:
                block.zero_init()

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """See :meth:`GatedBackbone.run`."""
        for module in self.stem_modules:
            x = module(x)
        x = self.maxpool(x if self.deep_stem else F.relu(x, inplace=True))
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        for module in self.stem_modules + self.stages[: self.frozen_stages]:
            module.eval()
            for name, parameter in module.named_parameters():
                if not is_gate_parameter(name):
                    parameter.requires_grad_(False)
            for gate in named_gates(module).values():
                if any(parameter.requires_grad for parameter in gate.parameters()):
                    gate.train(self.training)

    def train(self, mode: bool = True) -> GatedResNet:
        """Switch the mode, but keep frozen stages and, with ``norm_eval``, norms in evaluation."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for name, module in self.named_modules():
                if isinstance(module, _BatchNorm) and not is_gate_parameter(name):
                    module.eval()
        return self
