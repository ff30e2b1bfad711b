"""Savings of closed gates, for all gates of a network at once.

The arithmetic is NumPy's: on the few numbers of one image its calls take a fraction of the time
that torch's do, and this runs at every prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mmbas.gates import GatedConvMACs, GateOutput

MAX_TABLES = 64


_Run = tuple[int, int] | None  # first gate, and the one after the last


@dataclass(frozen=True)
class _Table:
    """Costs of C convolutions by the gates at their inputs and outputs.

    S runs of neighbouring gates stand at inputs, outputs or positions; number S means "no gate".

    Attributes:
        members: 1 where a gate, counted through all gates, belongs to a run, shape (all gates,
            S + 1).
        always: 1 for run S only, shape (S + 1,).
        runs: Run at the inputs of each convolution, at its outputs, and at its output positions,
            shape (3, C).
        macs_of_open: MACs of one open input, one open output and one open part of the positions,
            shape (C,).
        params_of_pair: Weights of one pair of an open input and an open output, shape (C,).
        dense: MACs and weights with all gates open, shape (2,).
        convs: Kept alive, since the key of the table is their identity.
    """

    members: NDArray[np.float64]
    always: NDArray[np.float64]
    runs: NDArray[np.int64]
    macs_of_open: NDArray[np.float64]
    params_of_pair: NDArray[np.float64]
    dense: NDArray[np.float64]
    convs: Sequence[Sequence[GatedConvMACs]]


# By the costs that come with each gate's output, by identity, and its number of gates.
_tables: dict[tuple[tuple[int, int], ...], _Table] = {}


def open_gates(outputs: Sequence[GateOutput]) -> NDArray[np.bool_]:
    """Mask of the open gates, shape (N, all gates).

    Args:
        outputs: Outputs of different gates for the same N images, one call each; at least one.
    """
    gates = torch.cat([output.gates for output in outputs], dim=1).detach() > 0
    is_open: NDArray[np.bool_] = gates.cpu().numpy()
    return is_open


def closed_costs(
    outputs: Sequence[GateOutput], is_open: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """MACs and weights that each image saves.

    Args:
        outputs: Outputs of different gates for the same N images, one call each; at least one.
        is_open: Their :func:`open_gates`, or others of that shape.

    Returns:
        Shape (N, 2); whole numbers, exact.
    """
    table = _table_of(outputs)
    gates = open_gates(outputs) if is_open is None else is_open
    num_open = gates.astype(np.float64) @ table.members + table.always
    at_convs = num_open.take(table.runs, axis=1)
    open_pairs = at_convs[:, 0] * at_convs[:, 1]
    closed = np.empty((len(gates), 2))
    closed[:, 0] = table.dense[0] - (open_pairs * at_convs[:, 2]) @ table.macs_of_open
    closed[:, 1] = table.dense[1] - open_pairs @ table.params_of_pair
    return closed


def _table_of(outputs: Sequence[GateOutput]) -> _Table:
    key = tuple([(id(output.convs), output.gates.shape[1]) for output in outputs])
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
    members = np.zeros((first, len(runs)))
    for number, (start, stop) in enumerate(spans):
        members[start:stop, number] = 1
    macs, params = _float64([c.macs for c in convs]), _float64([c.params for c in convs])
    pairs = _float64([_length(before) * _length(after) for before, after, _ in rows])
    return _Table(
        members,
        np.eye(len(runs))[-1],
        np.array([[runs[run] for run in row] for row in rows], dtype=np.int64).reshape(-1, 3).T,
        macs / (pairs * _float64([_length(parts) for _, _, parts in rows])),
        params / pairs,
        np.array([macs.sum(), params.sum()]),
        [output.convs for output in outputs],
    )


def _run(gated: slice | None, first: int, num_gates: int) -> _Run:
    if gated is None:
        return None
    span = range(first, first + num_gates)[gated]
    return span.start, span.stop


def _length(run: _Run) -> int:
    return 1 if run is None else run[1] - run[0]


def _float64(values: Sequence[int]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)
