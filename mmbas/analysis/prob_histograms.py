"""Distribution of the probs of a few gates, checkpoint by checkpoint (figure 1b of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.figure
import numpy as np
from numpy.typing import NDArray

from mmbas.analysis.gate_profile import GateProfile
from mmbas.analysis.plot_style import PALETTE, new_figure
from mmbas.metrics.gate_counts import NUM_BINS

# Open rates that the automatically chosen gates should have: on, conditional twice, off.
_WANTED_RATES = (1.0, 0.6, 0.25, 0.0)
_MOST_COLUMNS = 6


@dataclass(frozen=True)
class ProbHistogram:
    """Distribution of one gate's prob over a data set in every checkpoint.

    Attributes:
        layer: The gate's layer.
        gate: Its number in there.
        checkpoints: Labels of the checkpoints, in the order of training.
        open_rates: Share of the images that the gate is open for, per checkpoint.
        shares: Share of the images in each of 20 equal bins on (0, 1), per checkpoint.
    """

    layer: str
    gate: int
    checkpoints: list[str]
    open_rates: list[float]
    shares: list[list[float]]


def select_gates(open_rates: NDArray[np.float64]) -> list[int]:
    """Four different gates: the most open one, two conditional ones, the most closed one.

    Each is the gate whose open rate is nearest to 100, 60, 25 and 0 %, the first of equals; fewer
    where there are fewer gates.
    """
    chosen: list[int] = []
    for wanted in _WANTED_RATES[: len(open_rates)]:
        distance = np.abs(open_rates - wanted)
        distance[chosen] = np.inf
        chosen.append(int(np.argmin(distance)))
    return chosen


def prob_histograms(
    checkpoints: dict[str, GateProfile], gates: Sequence[int] | None = None
) -> list[ProbHistogram]:
    """Histograms of some gates over training.

    Args:
        checkpoints: Profiles of one model by the checkpoint's label, in the order of training.
        gates: Gates to show; None lets :func:`select_gates` choose them in the last checkpoint.

    Raises:
        ValueError: If the checkpoints are of networks with different gates.
    """
    profiles = list(checkpoints.values())
    if any(profile.layers != profiles[0].layers for profile in profiles):
        raise ValueError("expected checkpoints of one network, but their numbers of gates differ")
    gates = select_gates(profiles[-1].open_rates) if gates is None else gates
    return [
        ProbHistogram(
            *profiles[0].layer_of(gate),
            list(checkpoints),
            [float(profile.open_rates[gate]) for profile in profiles],
            [profile.prob_shares[gate].tolist() for profile in profiles],
        )
        for gate in gates
    ]


def prob_histograms_figure(histograms: Sequence[ProbHistogram]) -> matplotlib.figure.Figure:
    """Gates as rows, checkpoints as columns; at most 6 columns, spread evenly over training."""
    num = len(histograms[0].checkpoints)
    columns = np.unique(np.linspace(0, num - 1, min(num, _MOST_COLUMNS)).round().astype(int))
    width = max(1.65 * len(columns) + 0.9, 5)
    figure = new_figure(width, 1.45 * len(histograms) + 0.6)
    axes = figure.subplots(len(histograms), len(columns), squeeze=False, sharex=True, sharey="row")
    edges = np.linspace(0, 1, NUM_BINS + 1)
    for row, histogram in enumerate(histograms):
        for axis, column in zip(axes[row], columns, strict=True):
            axis.stairs(
                100 * np.array(histogram.shares[column]), edges, fill=True, color=PALETTE[row % 6]
            )
            axis.set(xlim=(0, 1))
            axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            axis.set_title(f"open {histogram.open_rates[column]:.0%}", fontsize=9)
            if row == 0:
                axis.set_title(f"{histogram.checkpoints[column]}\n{axis.get_title()}", fontsize=9)
        axes[row, 0].set_ylabel(f"{histogram.layer}\ngate {histogram.gate}\nimages (%)")
    figure.supxlabel("gate prob", fontsize=10)
    return figure
