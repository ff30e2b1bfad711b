"""Description of a gated backbone for code that runs or rewrites it without its ``forward``.

Folding of normalisation and each of the sliced paths read a backbone here and nowhere else. The
reading is strict: a part that it does not know would be left out without a word, so it is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from mmbas.backbones.gated_resnet import GatedResNet
from mmbas.backbones.gated_resnet_cifar import GatedResNetCifar, SubsampleShortcut
from mmbas.blocks import GatedBasicBlock, GatedBottleneck, GatedResidualBlock, GateSeats
from mmbas.gates import Gate, Gater

Backbone = GatedResNet | GatedResNetCifar
BACKBONES = (GatedResNet, GatedResNetCifar)

# What decides how a module computes. A subclass that brings its own is another network.
_OF_BACKBONE = ("__call__", "forward", "run", "stages", "stem_modules", "stem_pool")
_OF_BLOCK = ("__call__", "forward", "residual", "switch_output", "convs", "norms", "inner_gates")


class UnsupportedError(ValueError):
    """A backbone has a part that cannot be described or run; the message is one clause."""


@dataclass(frozen=True)
class ConvNorm:
    """A convolution and the normalisation of its output.

    Attributes:
        conv: The convolution.
        norm: The normalisation; ``nn.Identity`` once it is folded.
        conv_name: Name of the convolution within the backbone.
        norm_name: Name of the normalisation within the backbone.
    """

    conv: nn.Conv2d
    norm: nn.Module
    conv_name: str
    norm_name: str


@dataclass(frozen=True)
class Shortcut:
    """Shortcut that is not the identity.

    Attributes:
        module: All of it.
        layer: Its 1x1 convolution with normalisation; None in option A, where every ``stride``-th
            pixel is taken and zero channels are appended.
        pool: Average pooling before the convolution; None if there is none.
        num_new_channels: Number of zero channels that option A appends.
        stride: Stride of the subsampling in option A.
    """

    module: nn.Module
    layer: ConvNorm | None
    pool: nn.AvgPool2d | None = None
    num_new_channels: int = 0
    stride: int = 1


@dataclass(frozen=True)
class Block:
    """A residual block: ``relu(layers(x) + shortcut(x))``, with gates.

    Attributes:
        module: All of it.
        name: Name within the backbone.
        layers: The residual branch; ReLU follows each layer but the last, and then its gates.
        gate: Its gate or None.
        gated: Gates that switch the output of each layer but the last; None if none do.
        seats: All that the gates switch; those of a block without gates are of no account.
        shortcut: None for the identity.
    """

    module: GatedResidualBlock
    name: str
    layers: tuple[ConvNorm, ...]
    gate: Gate | None
    gated: tuple[slice | None, ...]
    seats: GateSeats
    shortcut: Shortcut | None

    @property
    def convs(self) -> list[nn.Conv2d]:
        """The convolutions of the residual branch."""
        return [layer.conv for layer in self.layers]


@dataclass(frozen=True)
class Description:
    """A backbone.

    Attributes:
        stem: Layers with ReLU after each.
        max_pool: True if 3x3 max pooling of stride 2 follows.
        stages: The blocks of each stage.
        out_indices: Stages whose output is returned.
        gater: Part that the gates share, or None.
    """

    stem: tuple[ConvNorm, ...]
    max_pool: bool
    stages: tuple[tuple[Block, ...], ...]
    out_indices: tuple[int, ...]
    gater: Gater | None = None

    @property
    def blocks(self) -> list[Block]:
        """All blocks in order."""
        return [block for stage in self.stages for block in stage]

    @property
    def gates(self) -> list[Gate]:
        """The gates in the order of the blocks."""
        return [block.gate for block in self.blocks if block.gate is not None]

    @property
    def layers(self) -> list[ConvNorm]:
        """All convolutions with their normalisation."""
        shortcuts = [block.shortcut for block in self.blocks]
        return [
            *self.stem,
            *(layer for block in self.blocks for layer in block.layers),
            *(each.layer for each in shortcuts if each is not None and each.layer is not None),
        ]


def describe(backbone: nn.Module) -> Description:
    """Read the parts of a backbone.

    Args:
        backbone: Backbone in either mode, its normalisation folded or not.

    Raises:
        UnsupportedError: If it has a part that this description does not know.
    """
    if not isinstance(backbone, BACKBONES):
        raise UnsupportedError(f"{type(backbone).__name__} is not a gated ResNet of this package")
    _check_own(backbone, BACKBONES, _OF_BACKBONE, "the backbone")
    reader = _Reader(backbone)
    description = Description(
        stem=reader.stem(backbone),
        max_pool=isinstance(backbone, GatedResNet),
        stages=tuple(reader.stage(stage) for stage in backbone.stages),
        out_indices=backbone.out_indices,
        gater=backbone.gater,
    )
    _check_distinct(description, reader.names)
    return description


def check_inner_gates(description: Description) -> None:
    """Refuse gates that switch anything else than inner channels, each channel by its own gate.

    Raises:
        UnsupportedError: With the first of them.
    """
    for block in description.blocks:
        if block.gate is not None and not block.seats.are_inner:
            raise UnsupportedError(
                f"{block.name}.gate switches {block.seats.switches} that are not its inner "
                "channels one by one"
            )
    if description.gater is not None:
        raise UnsupportedError(f"the gates share a {type(description.gater).__name__}")


class _Reader:
    """Reads parts and knows their names.

    Args:
        backbone: Holds the parts.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.names = {module: name for name, module in backbone.named_modules()}

    def stem(self, backbone: Backbone) -> tuple[ConvNorm, ...]:
        if isinstance(backbone, GatedResNetCifar):
            norm = backbone.get_submodule(backbone._norm1_name)
            return (self.layer(backbone.conv1, norm),)
        _check_max_pool(backbone.maxpool)
        if not backbone.deep_stem:
            return (self.layer(*backbone.stem_modules),)
        (stem,) = backbone.stem_modules
        modules = self.children(stem)
        relus = modules[2::3]
        if len(modules) != 9 or any(type(relu) is not nn.ReLU for relu in relus):
            raise UnsupportedError(
                f"the stem is not three times convolution, norm and ReLU: {stem}"
            )
        return tuple(map(self.layer, modules[0::3], modules[1::3]))

    def stage(self, stage: nn.Module) -> tuple[Block, ...]:
        return tuple(self.block(block) for block in self.children(stage))

    def block(self, block: nn.Module) -> Block:
        name = self.names[block]
        if not isinstance(block, GatedBasicBlock | GatedBottleneck):
            raise UnsupportedError(f"{name} is a {type(block).__name__}, which is not known")
        _check_own(block, (GatedBasicBlock, GatedBottleneck), _OF_BLOCK, name)
        layers = tuple(map(self.layer, block.convs, block.norms))
        gated = block.inner_gates if block.gate is not None else [None] * (len(layers) - 1)
        if block.gate is not None:
            _check_gate(block.gate, block, f"{name}.gate")
        shortcut = self.shortcut(block.downsample)
        return Block(block, name, layers, block.gate, tuple(gated), block.seats, shortcut)

    def shortcut(self, module: nn.Module | None) -> Shortcut | None:
        if module is None:
            return None
        if type(module) is SubsampleShortcut:
            return Shortcut(module, None, None, module.num_new_channels, module.stride)
        layers = self.children(module)
        pool = layers.pop(0) if layers and type(layers[0]) is nn.AvgPool2d else None
        if len(layers) != 2:
            raise UnsupportedError(f"the shortcut {self.names[module]} is not known: {module}")
        return Shortcut(module, self.layer(*layers), pool)  # type: ignore[arg-type]

    def layer(self, conv: nn.Module, norm: nn.Module) -> ConvNorm:
        name = self.names[conv]
        if type(conv) is not nn.Conv2d or "forward" in vars(conv):
            raise UnsupportedError(
                f"{name} is a {type(conv).__name__} and not a plain convolution (merge what wraps "
                "or parametrises it first)"
            )
        if "weight" not in dict(conv.named_parameters(recurse=False)):
            raise UnsupportedError(
                f"the weight of {name} is computed from others (pruning, weight or spectral "
                "normalisation); make it permanent with the remove function of torch.nn.utils"
            )
        return ConvNorm(conv, norm, name, self.names[norm])

    def children(self, module: nn.Module) -> list[nn.Module]:
        """The modules of a sequence, as often as they stand there."""
        if not isinstance(module, nn.Sequential):
            raise UnsupportedError(
                f"{self.names[module]} is a {type(module).__name__} and not a sequence"
            )
        _check_own(module, (nn.Sequential,), ("__call__", "forward"), self.names[module])
        return list(module)


def _check_own(
    module: nn.Module, known: tuple[type[nn.Module], ...], methods: Iterable[str], name: str
) -> None:
    """Refuse a subclass of a known class, or an object of one, that computes in its own way."""
    (base,) = (each for each in known if isinstance(module, each))
    for method in methods:
        own = getattr(type(module), method, None) is not getattr(base, method, None)
        if own or method in vars(module):
            raise UnsupportedError(f"{name} has a method {method} of its own")


def _check_gate(gate: Gate, block: GatedResidualBlock, name: str) -> None:
    """Refuse a gate whose decisions are not as many as its seats."""
    if not isinstance(gate, Gate):
        raise UnsupportedError(f"{name} is a {type(gate).__name__} and not a gate")
    _check_own(gate, (Gate,), ("__call__", "forward"), name)
    for method in ("compute_logits", "decide"):
        if method in vars(gate):
            raise UnsupportedError(f"{name} has a method {method} of its own")
    seats = block.seats
    for conv, gated in zip(block.convs, seats.outputs, strict=True):
        count = conv.out_channels if gated is None else len(range(gate.num_gates)[gated])
        if count != conv.out_channels:
            raise UnsupportedError(f"{name} has {count} gates for {conv.out_channels} channels")
    for seat, count in ((seats.branch, 1), (seats.tiles, seats.grid**2)):
        if seat is not None and len(range(gate.num_gates)[seat]) != count:
            raise UnsupportedError(f"{name} has not {count} gates for {seats.switches}")


def _check_max_pool(pool: nn.Module) -> None:
    window = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    values = tuple(getattr(pool, name, None) for name in window)
    if type(pool) is not nn.MaxPool2d or values != (3, 2, 1, 1, False, False):
        raise UnsupportedError(f"the pooling of the stem is not 3x3 of stride 2: {pool}")


def _check_distinct(description: Description, names: dict[nn.Module, str]) -> None:
    """Refuse modules that stand in several places: each place has its own normalisation."""
    modules: list[nn.Module] = [*description.gates]
    for layer in description.layers:
        modules += [layer.conv, layer.norm]
    shared = [names[module] for module, count in Counter(modules).items() if count > 1]
    if shared:
        raise UnsupportedError(f"{', '.join(shared)} stands in several places of the network")
