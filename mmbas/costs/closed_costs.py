"""Savings of closed gates, for all gates of a network at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmbas.gates import GatedConvMACs, GateOutput

MAX_TABLES = 64


class _Key(NamedTuple):
    """Key of a table: the costs that come with a gate's output, by identity."""

    convs: int
    num_gates: int


_Run = tuple[int, int] | None  # first gate, and the one after the last


@dataclass(frozen=True)
class _Table:
    """Costs of C convolutions by the gates at their inputs and outputs.

    S runs of neighbouring gates stand at inputs, outputs or positions; number S means "no gate".

    Attributes:
        starts: First gate of each run, counted through all gates, shape (S,).
        stops: Gate after the last one of each run, shape (S,).
        inputs: Run at the inputs of each convolution, shape (C,).
        outputs: Run at its outputs, shape (C,).
        positions: Run at its output positions, shape (C,).
        macs_of_open: MACs of one open input, one open output and one open part of the positions,
            shape (C,).
        params_of_pair: Weights of one pair of an open input and an open output, shape (C,).
        dense: MACs and weights with all gates open, shape (2,).
        convs: Kept alive, since the key of the table is their identity.
    """

    starts: Tensor
    stops: Tensor
    inputs: Tensor
    outputs: Tensor
    positions: Tensor
    macs_of_open: Tensor
    params_of_pair: Tensor
    dense: Tensor
    convs: Sequence[Sequence[GatedConvMACs]]


_tables: dict[tuple[_Key, ...], _Table] = {}


def open_gates(outputs: Sequence[GateOutput]) -> Tensor:
    """Mask of the open gates, shape (N, all gates), bool, on the CPU.

    Args:
        outputs: Outputs of different gates for the same N images, one call each; at least one.
    """
    return (torch.cat([output.gates for output in outputs], dim=1).detach() > 0).cpu()


def closed_costs(outputs: Sequence[GateOutput], is_open: Tensor | None = None) -> Tensor:
    """MACs and weights that each image saves.

    Args:
        outputs: Outputs of different gates for the same N images, one call each; at least one.
        is_open: Their :func:`open_gates`, or others of that shape.

    Returns:
        Shape (N, 2), float64, on the CPU; whole numbers, exact.
    """
    table = _table_of(outputs)
    gates = open_gates(outputs) if is_open is None else is_open
    ends = F.pad(gates.to(torch.float64).cumsum(dim=1), (1, 0))
    num_open = F.pad(ends[:, table.stops] - ends[:, table.starts], (0, 1), value=1.0)
    open_pairs = num_open[:, table.inputs] * num_open[:, table.outputs]
    macs = (open_pairs * num_open[:, table.positions]) @ table.macs_of_open
    return table.dense - torch.stack([macs, open_pairs @ table.params_of_pair], dim=1)


def _table_of(outputs: Sequence[GateOutput]) -> _Table:
    key = tuple(_Key(id(output.convs), output.gates.shape[1]) for output in outputs)
    table = _tables.get(key)
    if table is None:
        table = _make_table(outputs)
        if len(_tables) >= MAX_TABLES:
            _tables.clear()
        _tables[key] = table
    return table


def _make_table(outputs: Sequence[GateOutput]) -> _Table:
    runs: dict[tuple[int, int] | None, int] = {}
    rows: list[tuple[_Run, _Run, _Run]] = []
    convs = [conv for output in outputs for conv in output.convs]
    first = 0
    for output in outputs:
        num_gates = output.gates.shape[1]
        for conv in output.convs:
            seats = (conv.inputs, conv.outputs, conv.positions)
            before, after, parts = (_run(gated, first, num_gates) for gated in seats)
            rows.append((before, after, parts))
        first += num_gates
    for run in (run for row in rows for run in row if run is not None):
        runs.setdefault(run, len(runs))
    spans = [run for run in runs if run is not None]
    runs[None] = len(spans)
    macs, params = _float64([c.macs for c in convs]), _float64([c.params for c in convs])
    pairs = _float64([_length(before) * _length(after) for before, after, _ in rows])
    return _Table(
        _int64([start for start, _ in spans]),
        _int64([stop for _, stop in spans]),
        _int64([runs[before] for before, _, _ in rows]),
        _int64([runs[after] for _, after, _ in rows]),
        _int64([runs[parts] for _, _, parts in rows]),
        macs / (pairs * _float64([_length(parts) for _, _, parts in rows])),
        params / pairs,
        torch.stack([macs.sum(), params.sum()]),
        [output.convs for output in outputs],
    )


def _run(gated: slice | None, first: int, num_gates: int) -> _Run:
    if gated is None:
        return None
    span = range(first, first + num_gates)[gated]
    return span.start, span.stop


def _length(run: _Run) -> int:
    return 1 if run is None else run[1] - run[0]


def _float64(values: Sequence[object]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device="cpu")


def _int64(values: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64, device="cpu")
