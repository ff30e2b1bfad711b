"""Static reduction: a gated network without the channels that never open.

A channel whose gate is closed for every image contributes nothing: its filter, its normalisation
and the input channel of the next convolution can go, as can its row in the gate network. A gate
that is open for every image need not be computed. This leaves a smaller network of the same kind,
with widths of its own in every block (``block_widths`` of the backbones). For images that open no
removed gate and close no folded one its output is that of the original, up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbas.backbones.description import (
    BACKBONES,
    UnsupportedError,
    check_inner_gates,
    describe,
)
from mmbas.blocks import BlockWidths, GatedResidualBlock
from mmbas.gates import ChannelGate, Gate
from mmbas.losses.batch_shaping.queue import LogitQueue


@dataclass(frozen=True)
class Reduction:
    """A reduced network: what its config must say and its weights.

    Attributes:
        block_widths: ``dict(channels=..., always_open=...)`` of each block in order, the option
            ``block_widths`` of the backbones.
        state_dict: Weights of the whole reduced model.
        num_gates: Gates before the reduction.
        num_removed: Gates whose channel was removed.
        num_folded: Gates that are now open for every image.
    """

    block_widths: list[dict[str, Any]]
    state_dict: dict[str, Tensor]
    num_gates: int
    num_removed: int
    num_folded: int

    @property
    def has_gates(self) -> bool:
        """Tell whether any gate is left."""
        return self.num_gates > self.num_removed + self.num_folded


@dataclass(frozen=True)
class _Inner:
    """Remainder of one inner representation.

    Attributes:
        kept: Its remaining channels, those that are always open first.
        num_always_open: Number of them that are always open.
        silent: No channel opens. A convolution needs one, so one is kept that the next convolution
            ignores: its weights for it are 0.
    """

    kept: list[int]
    num_always_open: int
    silent: bool = False


_SILENT = _Inner([0], 1, silent=True)


def reduce_model(
    model: nn.Module,
    open_rates: Mapping[str, Tensor],
    *,
    min_rate: float = 0.01,
    max_rate: float = 1.0,
) -> Reduction:
    """Remove the channels whose gates hardly open, and fold the gates that are always open.

    Args:
        model: Holds one gated backbone; is not changed.
        open_rates: Fraction of images that each gate is open for, by the name of the gate module,
            shape (G,), 0 to 1.
        min_rate: A channel goes if its gate never opens, or for less than this fraction of the
            images. With 0 the network stays the same on those images.
        max_rate: A gate is folded if it is open for at least this fraction. With 1 the network
            stays the same on those images.

    Raises:
        ValueError: If the rates do not fit, or the network cannot be reduced.

    Example:
        >>> import torch
        >>> from mmbas.backbones import GatedResNetCifar
        >>> from mmbas.compress.reduction import reduce_model
        >>> from mmbas.gates import named_gates
        >>> backbone = GatedResNetCifar(8).eval()
        >>> gates = named_gates(backbone)
        >>> rates = {name: torch.full((gate.num_gates,), 0.5) for name, gate in gates.items()}
        >>> rates["layer1.0.gate"][:4] = 0.0
        >>> reduction = reduce_model(backbone, rates)
        >>> reduction.num_removed, reduction.block_widths[0]["channels"]
        (4, (12,))
        >>> smaller = GatedResNetCifar(8, block_widths=reduction.block_widths)
        >>> smaller.load_state_dict(reduction.state_dict)  # 4 channels fewer in the first block
        <All keys matched successfully>
    """
    check_rates(min_rate, max_rate)
    blocks = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, GatedResidualBlock)
    }
    if not any(block.gate is not None for block in blocks.values()):
        raise ValueError("expected a model with gates to reduce, but got one without")
    _check_known(model, blocks)
    state_dict = _copied_state(model)
    block_widths = []
    num_gates, num_removed, num_folded = 0, 0, 0
    for name, block in blocks.items():
        _check_reducible(name, block)
        rates = _rates_of_inner(block, open_rates.get(f"{name}.gate"), name)
        inner = [_choose_channels(rate, min_rate, max_rate) for rate in rates]
        if inner[-1].silent:
            inner = [_SILENT] * len(inner)  # nobody reads what comes before
        _replace(state_dict, f"{name}.", _reduced_state(block, inner))
        widths = _widths(inner)
        block_widths.append(dict(channels=widths.channels, always_open=widths.always_open))
        for positions, left in zip(_gates_of_inner(block), inner, strict=True):
            removed = len(positions) - (0 if left.silent else len(left.kept))
            num_gates += len(positions)
            num_removed += removed if positions else 0
            num_folded += left.num_always_open if positions and not left.silent else 0
    return Reduction(block_widths, state_dict, num_gates, num_removed, num_folded)


def check_rates(min_rate: float, max_rate: float) -> None:
    """Refuse bounds that :func:`reduce_model` cannot use.

    Raises:
        ValueError: Unless 0 <= min_rate <= max_rate <= 1 and max_rate > 0.
    """
    if not 0 <= min_rate <= max_rate <= 1 or max_rate == 0:
        raise ValueError(
            f"expected 0 <= min_rate <= max_rate <= 1 and max_rate > 0, but got {min_rate} and "
            f"{max_rate}"
        )


def _copied_state(model: nn.Module) -> dict[str, Tensor]:
    """The state without the queues of gate losses: their columns are gates that may be gone."""
    queues = tuple(
        f"{name}." for name, module in model.named_modules() if isinstance(module, LogitQueue)
    )
    state = model.state_dict()
    return {key: value.clone() for key, value in state.items() if not key.startswith(queues)}


def _check_known(model: nn.Module, blocks: Mapping[str, GatedResidualBlock]) -> None:
    """Refuse blocks that compute otherwise than their layers say."""
    described: set[nn.Module] = set()
    for module in model.modules():
        if isinstance(module, BACKBONES):
            try:
                description = describe(module)
                check_inner_gates(description)
                described.update(block.module for block in description.blocks)
            except UnsupportedError as error:
                raise ValueError(
                    f"expected a gated backbone whose parts are known, but {error}; train a "
                    "network of this package to reduce it"
                ) from error
    unknown = [name for name, block in blocks.items() if block not in described]
    if unknown:
        raise ValueError(
            f"expected gated blocks in a backbone of this package, but got {', '.join(unknown)}"
        )


def _check_reducible(name: str, block: GatedResidualBlock) -> None:
    if block.gate is not None and type(block.gate) is not ChannelGate:
        raise ValueError(
            f"expected a ChannelGate in {name}, but got {type(block.gate).__name__}, whose rows "
            "cannot be removed"
        )
    for norm in block.norms:
        if not isinstance(norm, _BatchNorm):
            raise ValueError(
                f"expected batch normalisation in {name}, but got {type(norm).__name__}, which "
                "depends on the removed channels"
            )


def _gates_of_inner(block: GatedResidualBlock) -> list[list[int]]:
    """The gates of each inner representation; none where it is not gated."""
    if block.gate is None:
        return [[] for _ in block.inner_gates]
    gates = range(block.gate.num_gates)
    return [list(gates[gated]) if gated else [] for gated in block.inner_gates]


def _rates_of_inner(
    block: GatedResidualBlock, open_rates: Tensor | None, name: str
) -> list[Tensor]:
    """Open rate of each channel of each inner representation; 1 where there is no gate."""
    gate: Gate | None = block.gate
    if gate is not None and (open_rates is None or open_rates.shape != (gate.num_gates,)):
        got = "none" if open_rates is None else f"shape {tuple(open_rates.shape)}"
        raise ValueError(
            f"expected open rates of {gate.num_gates} gates for {name}.gate, but got {got}"
        )
    return [
        open_rates[gates].cpu()
        if open_rates is not None and gates
        else torch.ones(conv.out_channels, dtype=torch.float64, device="cpu")
        for conv, gates in zip(block.convs[:-1], _gates_of_inner(block), strict=True)
    ]


def _choose_channels(rates: Tensor, min_rate: float, max_rate: float) -> _Inner:
    always_open = rates >= max_rate
    conditional = ~always_open & (rates > 0) & (rates >= min_rate)
    first = always_open.nonzero().flatten().tolist()
    kept = first + conditional.nonzero().flatten().tolist()
    return _Inner(kept, len(first)) if kept else _SILENT


def _widths(inner: Sequence[_Inner]) -> BlockWidths:
    return BlockWidths(
        tuple(len(left.kept) for left in inner), tuple(left.num_always_open for left in inner)
    )


def _replace(state_dict: dict[str, Tensor], prefix: str, state: Mapping[str, Tensor]) -> None:
    """Put the state of a reduced block, which may lack a gate, in the place of the block's."""
    gone = [
        key
        for key in state_dict
        if key.startswith(prefix) and key.removeprefix(prefix) not in state
    ]
    for key in gone:
        del state_dict[key]
    state_dict.update({prefix + key: value for key, value in state.items()})


def _reduced_state(block: GatedResidualBlock, inner: Sequence[_Inner]) -> dict[str, Tensor]:
    """State dict of the reduced block."""
    state = dict(block.state_dict())
    names = {module: name for name, module in block.named_modules()}
    for i, conv in enumerate(block.convs):
        weight = conv.weight.detach()
        if i < len(inner):
            weight = weight[inner[i].kept]
            norm = f"{names[block.norms[i]]}."
            for key in [key for key in state if key.startswith(norm) and state[key].dim() == 1]:
                state[key] = state[key][inner[i].kept]
        if i > 0:
            before = inner[i - 1]
            weight = weight[:, before.kept]
            weight = torch.zeros_like(weight) if before.silent else weight
        state[f"{names[conv]}.weight"] = weight
    return _with_reduced_gate(block, inner, state)


def _with_reduced_gate(
    block: GatedResidualBlock, inner: Sequence[_Inner], state: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The state with the rows of the gates that are left, or without a gate if there are none."""
    gate = block.gate
    if not isinstance(gate, ChannelGate):
        return state
    left = [
        gates[channel]
        for gates, part in zip(_gates_of_inner(block), inner, strict=True)
        if gates
        for channel in part.kept[part.num_always_open :]
    ]
    if not left:
        return {key: value for key, value in state.items() if not key.startswith("gate.")}
    # Gates of one decision are open equally often, so that they stay or go together.
    rows = list(dict.fromkeys(gate.output_of(number) for number in left))
    for key in ("gate.fc2.weight", "gate.fc2.bias"):
        state[key] = state[key][rows]
    return state
