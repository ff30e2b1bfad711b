"""Costs of a network, stage by stage, without data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from mmbas.costs.mac_count import MACCount, count_macs
from mmbas.gates import GateOutput, is_gate_parameter, named_gates


@dataclass(frozen=True)
class Cost:
    """Parameters and MACs per image of a part of a network.

    Attributes:
        name: Name of the part.
        params: Number of parameters.
        dense_macs: With all gates open, gate networks included.
        gate_macs: MACs of the gate networks (their pooling too, if asked for).
        closed_macs: With all gates closed.
        macs: With each gate open independently with the given probability.
        open_params: Parameters used on average then: all but weights of closed channels.
    """

    name: str
    params: int
    dense_macs: int
    gate_macs: int
    closed_macs: int
    macs: int
    open_params: int

    @property
    def gate_share(self) -> float:
        """The gate networks' MACs as a fraction of all others."""
        return self.gate_macs / max(self.dense_macs - self.gate_macs, 1)


def cost_table(
    model: nn.Module,
    inputs: torch.Tensor,
    *others: Any,
    open_fraction: float = 1.0,
    count_pooling: bool = False,
    per_block: bool = False,
) -> list[Cost]:
    """Costs of stem, stages and head, then of the whole network as ``total``.

    Args:
        model: Takes ``model(inputs, *others)``.
        inputs: One image, shape (1, 3, H, W); only its size matters.
        others: Further arguments that the model needs, such as the data sample of the image.
        open_fraction: Probability that a gate is open, for ``macs`` and ``open_params``.
        count_pooling: Count each addition of the gates' pooling as one MAC, as the paper does in
            section 4.1 (0.018 % to 0.087 % of a ResNet-34 block).
        per_block: One row per block instead of per stage.

    Raises:
        ValueError: If open_fraction is not in [0, 1] or there is not one image.
    """
    if not 0 <= open_fraction <= 1:
        raise ValueError(f"expected open_fraction in [0, 1], but got {open_fraction}")
    if len(inputs) != 1:
        raise ValueError(f"expected one image, but got {len(inputs)}")
    pooled: dict[str, int] = {}
    handles = [
        gate.register_forward_hook(_pooling_hook(name, pooled))
        for name, gate in named_gates(model).items()
        if count_pooling
    ]
    try:
        with torch.no_grad(), count_macs(model.eval()) as count:
            model(inputs, *others)
    finally:
        for handle in handles:
            handle.remove()
    parts = dict.fromkeys(part_of(name, per_block) for name, _ in model.named_parameters())
    rows = [_cost(model, part, count, pooled, open_fraction, per_block) for part in parts]
    return [*rows, _total(rows)]


def part_of(name: str, per_block: bool) -> str:
    """Stem, stage (or block), gater or top-level module that a module or parameter belongs to."""
    names = name.removeprefix("backbone.").split(".")
    if names[0] == "gater":
        return names[0]
    if names[0].startswith("layer"):
        return ".".join(names[: 2 if per_block else 1])
    return "stem" if name.startswith("backbone.") else names[0]


def _cost(
    model: nn.Module,
    part: str,
    count: MACCount,
    pooled: dict[str, int],
    open_fraction: float,
    per_block: bool,
) -> Cost:
    def belongs(name: str) -> bool:
        return part_of(name, per_block) == part

    pooling = sum(macs for name, macs in pooled.items() if belongs(name))
    dense = pooling + sum(macs for name, macs in count.module_macs.items() if belongs(name))
    gates = pooling + sum(
        macs
        for name, macs in count.module_macs.items()
        if belongs(name) and is_gate_parameter(name)
    )
    outputs = [out for name, outs in count.gate_outputs.items() if belongs(name) for out in outs]
    params = sum(p.numel() for name, p in model.named_parameters() if belongs(name))
    closed = [_with_gates(out, 0.0) for out in outputs]
    partly_open = [_with_gates(out, open_fraction) for out in outputs]
    return Cost(
        name=part,
        params=params,
        dense_macs=dense,
        gate_macs=gates,
        closed_macs=dense - round(sum(out.dense_macs - float(out.macs()) for out in closed)),
        macs=dense - round(sum(out.dense_macs - float(out.macs()) for out in partly_open)),
        open_params=params
        - round(sum(out.dense_params - float(out.params()) for out in partly_open)),
    )


def _with_gates(output: GateOutput, open_fraction: float) -> GateOutput:
    """The output with the expectation of each gate; its costs are then expectations too."""
    gates = torch.full_like(output.gates, open_fraction, dtype=torch.float64)
    return replace(output, gates=gates)


def _total(rows: list[Cost]) -> Cost:
    fields = ("params", "dense_macs", "gate_macs", "closed_macs", "macs", "open_params")
    return Cost(
        name="total", **{field: sum(getattr(row, field) for row in rows) for field in fields}
    )


def _pooling_hook(name: str, pooled: dict[str, int]) -> Any:
    def hook(gate: nn.Module, inputs: tuple[Any, ...], output: GateOutput) -> None:
        pooled[name] = inputs[0].numel()

    return hook
