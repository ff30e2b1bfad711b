"""Gates that are always on, conditional, always off, layer by layer (figure 5 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.figure

from mmbas.analysis.gate_profile import GateProfile
from mmbas.analysis.plot_style import BLUE, GREY, ORANGE, new_figure
from mmbas.metrics.gate_statistics import gate_shares

_KINDS = (
    ("always_on", "always on", BLUE),
    ("conditional", "conditional", ORANGE),
    ("always_off", "always off", GREY),
)


@dataclass(frozen=True)
class LayerShare:
    """Shares of the gates of one layer, or of all, that are on, off or conditional.

    Attributes:
        layer: Its name; ``all layers`` for the sum.
        num_gates: Number of gates.
        open_rate: Mean over gates and images, 0 to 1.
        mean_prob: Mean gate prob, 0 to 1.
        always_on: Share of the gates that are open for more than 99 % of the images.
        conditional: Share of the rest.
        always_off: Share of the gates that are open for less than 1 %.
    """

    layer: str
    num_gates: int
    open_rate: float
    mean_prob: float
    always_on: float
    conditional: float
    always_off: float


def layer_shares(profile: GateProfile) -> list[LayerShare]:
    """One row per layer in the order of the network, then all layers together."""
    rates, probs = profile.open_rates, profile.mean_probs
    parts = {**profile.slices, "all layers": slice(0, len(rates))}
    return [
        LayerShare(
            layer,
            len(rates[gates]),
            float(rates[gates].mean()),
            float(probs[gates].mean()),
            **gate_shares(rates[gates]),
        )
        for layer, gates in parts.items()
    ]


def layer_shares_figure(models: Mapping[str, Sequence[LayerShare]]) -> matplotlib.figure.Figure:
    """Stacked bars per layer, one column per model.

    Args:
        models: Rows of :func:`layer_shares` by the model's name.
    """
    most = max(len(rows) for rows in models.values())
    figure = new_figure(max(4.2 * len(models) + 0.8, 7), 0.30 * most + 1.3)
    for column, (name, rows) in enumerate(models.items()):
        axis = figure.add_subplot(1, len(models), column + 1)
        # The total stands apart, below the layers.
        heights = [*range(len(rows) - 1), len(rows) - 0.5]
        left = [0.0] * len(rows)
        for key, label, color in _KINDS:
            widths = [100 * getattr(row, key) for row in rows]
            axis.barh(heights, widths, left=left, color=color, label=label, height=0.8)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        axis.set(xlim=(0, 100), title=name, xlabel="share of the layer's gates (%)")
        axis.set_yticks(heights, [row.layer for row in rows])
        axis.invert_yaxis()
        if column == 0:
            figure.legend(loc="outside upper center", ncols=len(_KINDS), frameon=False)
    return figure
