"""The CIFAR ResNets with a channel gate in every block.

K. He et al.: Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2,
https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.backbones.gate_plan import GatePlan
from mmbas.backbones.gated_backbone import GatedBackbone
from mmbas.backbones.gated_resnet import DEFAULT_GATE, DEFAULT_NORM, Config
from mmbas.backbones.resnet_options import warn_without_effect
from mmbas.blocks import GatedBasicBlock, widths_of_blocks
from mmbas.blocks.gated_residual import conv3x3
from mmbas.registry import MODELS

STANDARD_CHANNELS = 16


class SubsampleShortcut(nn.Module):
    """Shortcut without parameters: every ``stride``-th pixel, new channels zero (option A).

    Args:
        num_new_channels: Number of zero channels to append.
        stride: Stride of the subsampling.
    """

    def __init__(self, num_new_channels: int, stride: int) -> None:
        super().__init__()
        self.num_new_channels = num_new_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Shortcut of ``x``, shape (N, C, H, W): (N, C + num_new_channels, H/stride, W/stride)."""
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.num_new_channels))


@MODELS.register_module()
class GatedResNetCifar(GatedBackbone):
    """ResNet for 32x32 images: a 3x3 stem and three stages of 16, 32 and 64 channels.

    Args:
        depth: 6n + 2 for n blocks in each stage: 8, 14, 20, 26, 32, 44, 56, 110, ...
        width_factor: Widens the gated inner representation of each block, and only that
            (section 5.1 of the paper: 10 and 20).
        base_channels: Channels of the stem and the first stage, C; the others have 2C and 4C. The
            standard network has 16; fewer give the narrow networks that gating must beat.
        out_indices: Stages whose output is returned.
        norm_cfg: Config of the norm layers.
        gate: Config of the gates; None gives the plain network.
        gate_positions: Placement of the gates, see :func:`mmbas.blocks.gate_seats`: inner channels,
            or the whole block, for example.
        gate_grid: Tiles along each axis in each stage for ``gate_positions='tiles'``; images need a
            height and width that they divide.
        plain_blocks: Numbers of the blocks without a gate, from 0 through all stages.
        gater: Config of a part that the gates share; None where each decides by itself.
        block_widths: Inner channels of each block, as ``tools/reduce.py`` writes them; see
            :func:`mmbas.blocks.widths_of_blocks`. None gives the standard network.
        init_cfg: Initialisation, as in mmengine.

    Example:
        >>> import torch
        >>> from mmbas.backbones import GatedResNetCifar
        >>> from mmbas.gates import named_gates
        >>> backbone = GatedResNetCifar(20, out_indices=(0, 1, 2)).eval()
        >>> [tuple(features.shape) for features in backbone(torch.randn(2, 3, 32, 32))]
        [(2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)]
        >>> sum(gate.num_gates for gate in named_gates(backbone).values())
        336
    """

    def __init__(
        self,
        depth: int,
        *,
        width_factor: int = 1,
        base_channels: int = STANDARD_CHANNELS,
        out_indices: Sequence[int] = (2,),
        norm_cfg: Config = DEFAULT_NORM,
        gate: Config | None = DEFAULT_GATE,
        gate_positions: str = "both",
        gate_grid: Sequence[int] = (),
        plain_blocks: Sequence[int] = (),
        gater: Config | None = None,
        block_widths: Sequence[Config] | None = None,
        init_cfg: Config | list[Config] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if depth < 8 or depth % 6 != 2:
            raise ValueError(
                f"expected a depth of 6n + 2 (8, 14, 20, 26, 32, ...), but got {depth}"
            )
        if base_channels < 1:
            raise ValueError(f"expected base_channels >= 1, but got {base_channels}")
        if width_factor < 1:
            raise ValueError(f"expected width_factor >= 1, but got {width_factor}")
        if width_factor != 1 and block_widths is not None:
            warn_without_effect(f"width_factor={width_factor}", "block_widths gives all widths")
        if not all(0 <= i < 3 for i in out_indices):
            raise ValueError(f"expected out_indices below 3, but got {tuple(out_indices)}")
        self.depth = depth
        self.out_indices = tuple(out_indices)
        self.conv1 = conv3x3(3, base_channels)
        self._norm1_name, norm1 = build_norm_layer(norm_cfg, base_channels, postfix=1)
        self.add_module(self._norm1_name, norm1)
        self.stage_names = ["layer1", "layer2", "layer3"]
        in_channels = base_channels
        num_blocks = (depth - 2) // 6
        plan = GatePlan(gate, gate_positions, gate_grid, plain_blocks)
        plan.check(num_blocks=3 * num_blocks, num_stages=3)
        inner = [base_channels * 2**i * width_factor for i in range(3)]
        standard = [channels for channels in inner for _ in range(num_blocks)]
        widths = iter(widths_of_blocks(block_widths, standard, num_inner=1))
        for i, name in enumerate(self.stage_names):
            out_channels = base_channels * 2**i
            blocks = []
            for j in range(num_blocks):
                widened = in_channels != out_channels
                blocks.append(
                    GatedBasicBlock(
                        in_channels,
                        next(widths),
                        out_channels,
                        stride=2 if j == 0 and i > 0 else 1,
                        norm_cfg=norm_cfg,
                        downsample=SubsampleShortcut(out_channels - in_channels, 2)
                        if widened
                        else None,
                        **plan.of_block(num_blocks * i + j, i),
                    )
                )
                in_channels = out_channels
            self.add_module(name, nn.Sequential(*blocks))
        self.feat_dim = in_channels
        self.add_gater(gater, norm_cfg)

    @property
    def norm1(self) -> nn.Module:
        """Norm layer of the stem, by the hosts' name for it."""
        return self.get_submodule(self._norm1_name)

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """See :meth:`GatedBackbone.run`."""
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)
