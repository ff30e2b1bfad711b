"""The sections of the gate report: numbers, picture and explanation of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.figure
import numpy as np
from numpy.typing import NDArray

from mmbas.analysis.class_histograms import (
    class_distances,
    class_distances_figure,
    class_histograms,
    class_histograms_figure,
    comparable_classes,
    extreme_pairs,
    telling_classes,
    telling_layers,
)
from mmbas.analysis.difficulty import Difficulty, RankCorrelation, difficulty, difficulty_figure
from mmbas.analysis.extreme_macs import extremes, extremes_figure
from mmbas.analysis.gate_profile import GateProfile
from mmbas.analysis.layer_shares import layer_shares, layer_shares_figure
from mmbas.analysis.prob_histograms import prob_histograms, prob_histograms_figure
from mmbas.analysis.rare_gates import rare_gates, rare_gates_figure


@dataclass(frozen=True)
class Section:
    """One figure of the report.

    Attributes:
        key: Name of its picture and of its numbers in ``gates.json``.
        title: A heading that says what the reader learns.
        caption: Explanation of the picture and of its computation.
        data: Its numbers.
        draw: Makes the picture; None where there is nothing to show, which ``caption`` explains.
    """

    key: str
    title: str
    caption: str
    data: Any
    draw: Callable[[], matplotlib.figure.Figure] | None


@dataclass(frozen=True)
class DataSetImages:
    """The images behind the positions in a profile.

    Attributes:
        dataset: ``dataset[i]["inputs"]`` is image i, uint8, shape (3, H, W).
        bgr: True if the first channel is blue, False if it is red.
    """

    dataset: Any
    bgr: bool


def report_sections(
    models: Sequence[GateProfile],
    images: DataSetImages,
    *,
    over_training: dict[str, GateProfile] | None = None,
    gates: Sequence[int] | None = None,
) -> list[Section]:
    """All figures, in the order in which they are read.

    Args:
        models: At least one; figure 5 compares all, the others show the first.
        images: Images of the data set that the models were run on.
        over_training: Profiles of earlier checkpoints of the first model by label, in the order
            of training, for figure 1b.
        gates: The gates of figure 1b; chosen automatically if None.
    """
    first = models[0]
    sections = [
        _layer_shares(models),
        _prob_histograms(first, over_training, gates),
        *(_class_figures(first) if _has_classes(first) else []),
        _rare_gates(first, images),
        _extremes(first, images),
    ]
    result = difficulty(first)
    return sections if result is None else [*sections, _difficulty(first, result)]


def _has_classes(profile: GateProfile) -> bool:
    return int((profile.counts.class_images > 0).sum()) >= 2


def _layer_shares(models: Sequence[GateProfile]) -> Section:
    rows = {model.name: layer_shares(model) for model in models}
    total = rows[models[0].name][-1]
    return Section(
        "figure_5",
        "Which gates decide, which never do",
        f"Gates of each layer by how often they are open over the {models[0].counts.num_images} "
        "images: always on for more than 99 % of them, always off for less than 1 %, conditional "
        "in between; the last bar is the whole network. The gates switch "
        f"{models[0].switches}: {models[0].executed} behind always-off gates could be left out for "
        "good; conditional gates are the ones that choose by image. In "
        f"{models[0].name}, {total.conditional:.0%} of the {total.num_gates} gates are "
        "conditional. (Figure 5 of the paper.)",
        rows,
        lambda: layer_shares_figure(rows),
    )


def _prob_histograms(
    profile: GateProfile,
    over_training: dict[str, GateProfile] | None,
    gates: Sequence[int] | None,
) -> Section:
    checkpoints = over_training or {"this checkpoint": profile}
    histograms = prob_histograms(checkpoints, gates)
    chosen = (
        "The gates are those whose open rates in the last checkpoint are nearest to 100, 60, 25 "
        "and 0 %. "
        if gates is None
        else ""
    )
    more = "" if over_training else " Give --over-training to see how they came about."
    return Section(
        "figure_1b",
        "What single gates answer" + (" in the course of training" if over_training else ""),
        "Each row is one gate, each column a checkpoint: the share of the images for which its "
        "prob, without noise, falls into each of 20 bins; the gate is open right of 0.5. "
        f"{chosen}Mass at both ends is a gate that decides by image; all mass at one end is one "
        f"that always or never opens. (Figure 1b of the paper.){more}",
        histograms,
        lambda: prob_histograms_figure(histograms),
    )


def _class_figures(profile: GateProfile) -> list[Section]:
    distances = class_distances(profile.class_rates)
    return [_class_histograms(profile, distances), _class_distances(profile, distances)]


def _class_histograms(profile: GateProfile, distances: NDArray[np.float64]) -> Section:
    comparable = comparable_classes(profile)
    classes = telling_classes(distances, comparable)
    chosen = (
        "two classes that are treated most alike, two that are far from them"
        if len(classes) < len(comparable)
        else "classes that some of the images have"
    )
    layers = telling_layers(profile)
    histograms = class_histograms(profile, layers=layers, classes=classes)
    return Section(
        "figure_6",
        f"Classes use different {profile.executed}",
        f"Columns are layers, rows classes: how often its {profile.executed} are executed for the "
        "images of that class, one bar each, sorted by how often they are executed over all "
        "images, which is the grey line; where the bars leave it, the class is treated "
        f"differently. Shown are the {chosen}, and from each quarter of the network the layer with "
        "the largest share of conditional gates. (Figure 6 of the paper.)",
        histograms,
        lambda: class_histograms_figure(histograms),
    )


def _class_distances(profile: GateProfile, distances: NDArray[np.float64]) -> Section:
    names = [str(name) for name in profile.classes]
    near, far = (
        f"{names[a]} and {names[b]} ({100 * distances[a, b]:.1f} percentage points)"
        for a, b in extreme_pairs(distances, comparable_classes(profile))
    )
    return Section(
        "figure_6_distances",
        "Which classes are treated alike",
        "Distance of two classes: the absolute difference of a gate's open rates for the two, "
        f"averaged over all {len(profile.open_rates)} gates. Most alike are {near}, most different "
        f"{far}. Classes are ordered so that similar ones stand together (average linkage). An "
        "image with several classes counts for each of them, so classes that are in every image "
        "cannot differ.",
        {"classes": names, "distances": distances},
        lambda: class_distances_figure(distances, names),
    )


def _rare_gates(profile: GateProfile, images: DataSetImages) -> Section:
    found = rare_gates(profile)
    caption = (
        "Gates that are open for few images: in each layer the rarest of those open for 1 % to "
        "25 % and at least 3 images, and of these the five rarest of the network. Bars: for which "
        "share of the images of a class the gate is open, the five classes with the highest "
        "share; right: the first images of the data set that open it. (Figure 7 of the paper.)"
    )
    return Section(
        "figure_7",
        "Specialists: what rarely open gates wait for",
        caption if found else "No gate is open for 1 % to 25 % and at least 3 of the images.",
        found,
        (lambda: rare_gates_figure(found, images.dataset, bgr=images.bgr)) if found else None,
    )


def _extremes(profile: GateProfile, images: DataSetImages) -> Section:
    fractions = profile.macs_fractions.tolist()
    k = min(4, len(fractions))
    highest, lowest = extremes(fractions, k)
    return Section(
        "figure_4",
        "Images that cost the most and the least",
        f"MACs of each image as a share of the MACs with all gates open, the {k} highest above, "
        f"the {k} lowest below. Over all images they range from {min(fractions):.1%} to "
        f"{max(fractions):.1%}, with a mean of {np.mean(fractions):.1%}. (Figure 4 of the paper.)",
        {"highest": highest, "lowest": lowest},
        lambda: extremes_figure(images.dataset, fractions, k=k, bgr=images.bgr),
    )


def _difficulty(profile: GateProfile, result: Difficulty) -> Section:
    by_correct = " and ".join(
        f"{mean:.1%} for the {num} images that are {name}"
        for name, (mean, num) in result.by_correct.items()
    )
    return Section(
        "difficulty",
        "Do hard images use more MACs?",
        f"{verdict(result.with_loss)} Left: MACs of each image against its loss, the cross entropy "
        "of its prediction"
        + (
            f"; right: by whether the prediction is right ({by_correct} on average)."
            if result.by_correct
            else " averaged over its labelled pixels; right: against the share of pixels that are "
            "right."
        )
        + f" Rank correlation of MACs and correctness: {_with_interval(result.with_correct)}. "
        "Correlations are Spearman's; the intervals are 95 % percentile bootstraps over images, "
        f"{result.with_loss.resamples} resamples.",
        result,
        lambda: difficulty_figure(profile, result),
    )


def verdict(correlation: RankCorrelation) -> str:
    """Put the rank correlation of MACs and loss into one or two sentences."""
    if math.isnan(correlation.rho):
        return "Not defined here: all images have the same MACs or the same loss."
    numbers = f"the rank correlation of MACs and loss is {_with_interval(correlation)}."
    if correlation.low > 0:
        return f"Yes: {numbers}"
    if correlation.high < 0:
        return f"No, they use fewer: {numbers}"
    return f"Not seen: {numbers}"


def _with_interval(correlation: RankCorrelation) -> str:
    if math.isnan(correlation.rho):
        return "not defined, one of the two is constant"
    return f"{correlation.rho:.2f} ({correlation.low:.2f} to {correlation.high:.2f})"
