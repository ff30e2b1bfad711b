"""What a backbone consists of, read from its modules, and whether the kernels can run it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.backbones.gated_resnet_cifar import SubsampleShortcut
from mmbas.blocks import GatedResidualBlock
from mmbas.gates import ChannelGate

KERNELS = {1: (0, 0), 3: (1, 0), 7: (0, 3)}  # size: padding = a * dilation + b


class UnsupportedError(ValueError):
    """The kernels cannot run this backbone; the message is one clause."""


@dataclass(frozen=True)
class Shortcut:
    """Shortcut that is not the identity.

    Attributes:
        conv: Its 1x1 convolution; None in option A (subsample, new channels zero).
        pooling: Size of the average pooling before it, 1 for none.
        new_channels: How many zero channels option A appends.
    """

    conv: nn.Conv2d | None
    pooling: int = 1
    new_channels: int = 0


@dataclass(frozen=True)
class Block:
    """A residual block.

    Attributes:
        convs: Of the residual branch; ReLU follows each but the last.
        gate: Its gate or None.
        gated: For each convolution but the last: which gates switch its output, None if none do.
        shortcut: None for the identity.
    """

    convs: list[nn.Conv2d]
    gate: ChannelGate | None
    gated: list[slice | None]
    shortcut: Shortcut | None


@dataclass(frozen=True)
class Network:
    """A backbone.

    Attributes:
        stem: Convolutions, ReLU after each.
        max_pool: Whether 3x3 max pooling of stride 2 follows.
        stages: Blocks of each stage.
        out_indices: Stages whose output is returned.
    """

    stem: list[nn.Conv2d]
    max_pool: bool
    stages: list[list[Block]]
    out_indices: tuple[int, ...]

    @property
    def blocks(self) -> list[Block]:
        """All blocks in order."""
        return [block for stage in self.stages for block in stage]

    @property
    def gates(self) -> list[ChannelGate]:
        """The gates in the order of the blocks."""
        return [block.gate for block in self.blocks if block.gate is not None]


def read_network(backbone: nn.Module) -> Network:
    """The parts of ``backbone``.

    Raises:
        UnsupportedError: If the kernels cannot run it.
    """
    if not isinstance(backbone, (GatedResNet, GatedResNetCifar)):
        raise UnsupportedError(f"{type(backbone).__name__} is not a gated ResNet of this package")
    if backbone.training:
        raise UnsupportedError("the backbone is in training mode")
    _check_tensors(backbone)
    deep = isinstance(backbone, GatedResNet) and backbone.deep_stem
    stem = backbone.stem if deep else nn.Sequential(backbone.conv1, *_first_norm(backbone))
    return Network(
        stem=list(_folded_convs(stem, with_relu=deep)),
        max_pool=isinstance(backbone, GatedResNet),
        stages=[[_read_block(block) for block in stage.children()] for stage in backbone.stages],
        out_indices=backbone.out_indices,
    )


def _first_norm(backbone: GatedResNet | GatedResNetCifar) -> list[nn.Module]:
    return [backbone.get_submodule(backbone._norm1_name)]


def _check_tensors(backbone: nn.Module) -> None:
    for name, parameter in backbone.named_parameters():
        if parameter.device.type != "cpu":
            raise UnsupportedError(f"{name} is on {parameter.device}, not on the CPU")
        if parameter.dtype != torch.float32:
            raise UnsupportedError(f"{name} is {parameter.dtype}, not float32")


def _folded_convs(modules: nn.Module, *, with_relu: bool) -> Iterator[nn.Conv2d]:
    for module in modules.children():
        if isinstance(module, nn.Conv2d):
            yield _checked_conv(module)
        elif not (isinstance(module, nn.Identity) or (with_relu and isinstance(module, nn.ReLU))):
            raise UnsupportedError(f"the norm {type(module).__name__} is not folded")


def _checked_conv(conv: nn.Conv2d) -> nn.Conv2d:
    size, stride, dilation, padding = conv.kernel_size, conv.stride, conv.dilation, conv.padding
    square = all(len(set(pair)) == 1 for pair in (size, stride, dilation))
    times_dilation, plus = KERNELS.get(size[0], (-1, 0))
    expected = times_dilation * dilation[0] + plus
    if (
        type(conv) is not nn.Conv2d
        or not square
        or padding != (expected, expected)
        or stride[0] > 2
        or conv.groups != 1
        or conv.padding_mode != "zeros"
    ):
        raise UnsupportedError(f"the convolution {conv} is not covered")
    return conv


def _read_block(block: nn.Module) -> Block:
    if not isinstance(block, GatedResidualBlock):
        raise UnsupportedError(f"{type(block).__name__} is not a gated residual block")
    if block.gate is not None and type(block.gate) is not ChannelGate:
        raise UnsupportedError(f"the gate {type(block.gate).__name__} is not a ChannelGate")
    if block.gate is not None and not isinstance(block.gate.norm, nn.modules.batchnorm._BatchNorm):
        raise UnsupportedError(f"the gate's norm is a {type(block.gate.norm).__name__}")
    for norm in block.norms:
        if not isinstance(norm, nn.Identity):
            raise UnsupportedError(f"the norm {type(norm).__name__} is not folded")
    convs = [_checked_conv(conv) for conv in block.convs]
    gated = [None if block.gate is None else part for part in block.inner_gates]
    return Block(convs, block.gate, gated, _read_shortcut(block.downsample))


def _read_shortcut(module: nn.Module | None) -> Shortcut | None:
    if module is None:
        return None
    if isinstance(module, SubsampleShortcut):
        if module.stride != 2:
            raise UnsupportedError(f"a shortcut of stride {module.stride} is not covered")
        return Shortcut(conv=None, new_channels=module.num_new_channels)
    layers = list(module.children())
    pooling = 1
    if layers and isinstance(layers[0], nn.AvgPool2d):
        pooling = _checked_pooling(layers[0])
        del layers[0]
    convs = list(_folded_convs(nn.Sequential(*layers), with_relu=False))
    if len(convs) != 1:
        raise UnsupportedError(f"the shortcut {module} is not covered")
    conv = convs[0]
    return Shortcut(conv, pooling)


def _checked_pooling(module: nn.AvgPool2d) -> int:
    size, stride, padding = module.kernel_size, module.stride, module.padding
    cut = module.ceil_mode and not module.count_include_pad
    if not isinstance(size, int) or stride != size or padding != 0 or not cut:
        raise UnsupportedError(f"the pooling {module} is not covered")
    return size
