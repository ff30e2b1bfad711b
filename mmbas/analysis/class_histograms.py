"""Executions of what each gate switches, for each class (figure 6 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import matplotlib.figure
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import cdist, squareform

from mmbas.analysis.gate_profile import GateProfile
from mmbas.analysis.plot_style import GREY, PALETTE, SCALE, new_figure
from mmbas.metrics.gate_statistics import gate_shares

_MOST_LAYERS = 4
_MOST_ANNOTATED = 12
_MOST_LABELLED = 40
_MOST_OPTIMALLY_ORDERED = 200  # the time grows faster than the square of the number


@dataclass(frozen=True)
class ClassHistogram:
    """Execution frequencies of the filters, or blocks, behind the gates of one layer.

    Attributes:
        layer: Its name.
        order: Its gates, the one most often open over the whole data set first.
        overall: Open rates over the whole data set in that order, shape (G,).
        classes: Names of the classes shown.
        rates: Open rates over the images of each class in that order, shape (classes, G).
        executed: Word for what the gates switch, in the plural.
    """

    layer: str
    order: list[int]
    overall: list[float]
    classes: list[str]
    rates: list[list[float]]
    executed: str = "filters"


def class_distances(class_rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over all gates of the absolute difference of two classes' open rates.

    0: every gate is open equally often for both; 1: no gate is ever open for both.

    Args:
        class_rates: Shape (C, G), 0 to 1; NaN for classes without images.

    Returns:
        Shape (C, C), symmetric, 0 on the diagonal; NaN for classes without images.
    """
    return cdist(class_rates, class_rates, "cityblock") / class_rates.shape[1]


def comparable_classes(profile: GateProfile) -> list[int]:
    """Classes that are in some images but not in all; those in all have the same rates.

    All classes that have images, where fewer than two are left.
    """
    images = profile.counts.class_images.numpy()
    some = np.flatnonzero((images > 0) & (images < profile.counts.num_images))
    return (some if len(some) >= 2 else np.flatnonzero(images)).tolist()


def telling_classes(distances: NDArray[np.float64], classes: Sequence[int]) -> list[int]:
    """Up to four classes: the two nearest to each other, then the two farthest from those.

    Args:
        distances: Shape (C, C).
        classes: The classes to choose from; none has NaN.
    """
    if len(classes) <= 4:
        return list(classes)
    among = distances[np.ix_(classes, classes)]
    apart = among + np.diag(np.full(len(classes), np.inf))
    chosen = [int(c) for c in np.unravel_index(np.argmin(apart), apart.shape)]
    while len(chosen) < 4:
        nearest = among[:, chosen].min(axis=1)
        nearest[chosen] = -1
        chosen.append(int(np.argmax(nearest)))
    return [classes[c] for c in chosen]


def extreme_pairs(
    distances: NDArray[np.float64], classes: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The two classes nearest to each other, and the two farthest from each other.

    Args:
        distances: Shape (C, C).
        classes: The classes to choose from, at least 2; none has NaN.
    """
    pairs = list(combinations(classes, 2))
    return min(pairs, key=lambda pair: distances[pair]), max(
        pairs, key=lambda pair: distances[pair]
    )


def telling_layers(profile: GateProfile) -> list[str]:
    """Up to four layers: of each quarter of the network the one with most conditional gates."""
    rates = profile.open_rates
    share = {layer: gate_shares(rates[g])["conditional"] for layer, g in profile.slices.items()}
    quarters = np.array_split(np.array(list(share)), min(_MOST_LAYERS, len(share)))
    return [str(max(quarter, key=lambda layer: share[str(layer)])) for quarter in quarters]


def class_histograms(
    profile: GateProfile, *, layers: Sequence[str], classes: Sequence[int]
) -> list[ClassHistogram]:
    """Execution frequencies of some layers for some classes."""
    overall, class_rates = profile.open_rates, profile.class_rates
    histograms = []
    for layer in layers:
        gates = profile.slices[layer]
        order = np.argsort(-overall[gates], kind="stable")
        histograms.append(
            ClassHistogram(
                layer,
                order.tolist(),
                overall[gates][order].tolist(),
                [profile.classes[c] for c in classes],
                class_rates[list(classes), gates][:, order].tolist(),
                profile.executed,
            )
        )
    return histograms


def class_histograms_figure(histograms: Sequence[ClassHistogram]) -> matplotlib.figure.Figure:
    """Classes as rows, layers as columns; the grey line is the whole data set."""
    classes = histograms[0].classes
    figure = new_figure(max(2.4 * len(histograms) + 0.5, 5), 1.35 * len(classes) + 0.8)
    axes = figure.subplots(len(classes), len(histograms), squeeze=False, sharex="col", sharey=True)
    for column, histogram in enumerate(histograms):
        for row, name in enumerate(classes):
            axis = axes[row, column]
            rates = 100 * np.array(histogram.rates[row])
            axis.stairs(rates, fill=True, color=PALETTE[row % 6])
            axis.stairs(100 * np.array(histogram.overall), color=GREY, baseline=None, linewidth=1.2)
            axis.set(xlim=(0, len(rates)), ylim=(0, 101), yticks=[0, 50, 100])
            if column == 0:
                axis.set_ylabel(f"class {name}\nexecuted (%)")
        axes[0, column].set_title(histogram.layer)
    figure.supxlabel(f"{histograms[0].executed}, most often executed first", fontsize=10)
    return figure


def similarity_order(distances: NDArray[np.float64]) -> list[int]:
    """Classes with images so that similar ones stand together (average linkage)."""
    seen = np.flatnonzero(~np.isnan(np.diagonal(distances)))
    if len(seen) < 3:
        return seen.tolist()
    among = distances[np.ix_(seen, seen)]
    condensed = squareform((among + among.T) / 2, checks=False)
    few = len(seen) <= _MOST_OPTIMALLY_ORDERED
    return seen[leaves_list(linkage(condensed, "average", optimal_ordering=few))].tolist()


def class_distances_figure(
    distances: NDArray[np.float64], classes: Sequence[str]
) -> matplotlib.figure.Figure:
    """The matrix, similar classes together, in percentage points."""
    order = similarity_order(distances)
    values = 100 * distances[np.ix_(order, order)]
    few = len(order) <= _MOST_LABELLED
    size = min(max(0.5 * len(order) + 2.2, 4.5), 9.5)
    figure = new_figure(size + 0.9, size)
    axis = figure.add_subplot()
    image = axis.imshow(values, cmap=SCALE, vmin=0)
    names = [classes[c] for c in order] if few else []
    axis.set_xticks(range(len(names)), names)
    if max(map(len, names), default=0) > 2:
        axis.tick_params(axis="x", rotation=45)
        for tick in axis.get_xticklabels():
            tick.set_horizontalalignment("right")
    axis.set_yticks(range(len(names)), names)
    axis.spines[:].set_visible(False)
    label = "mean difference of open rates (percentage points)"
    figure.colorbar(image, ax=axis, label=label, shrink=0.85)
    if len(order) <= _MOST_ANNOTATED:
        middle = values.max() / 2
        for (row, column), value in np.ndenumerate(values):
            color = "white" if value < middle else "black"
            axis.text(column, row, f"{value:.0f}", ha="center", va="center", color=color)
    return figure
