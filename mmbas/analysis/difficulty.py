"""Tests if hard images use more MACs (section 5.3 and figure 4 of the paper, as a number)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.figure
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from mmbas.analysis.gate_profile import GateProfile
from mmbas.analysis.plot_style import BLUE, SCALE, SKY_BLUE, VERMILION, new_figure

_SMALLEST_LOSS = 1e-6  # of the logarithmic axis, nats
_MOST_POINTS = 3000
_FEW_POINTS = 100
_FEWEST_GROUPS = 3
Array = NDArray[np.float64]


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of two quantities over images.

    Attributes:
        rho: -1 to 1; NaN if one of the two is constant.
        low: Lower end of the 95 % interval.
        high: Upper end.
        num_images: Number of images.
        resamples: Bootstrap resamples behind the interval.
    """

    rho: float
    low: float
    high: float
    num_images: int
    resamples: int


@dataclass(frozen=True)
class Difficulty:
    """MACs, as fractions of dense, against loss and correctness.

    Attributes:
        with_loss: Correlation of MACs and loss: positive if hard images use more.
        with_correct: Correlation of MACs and correctness: negative if hard images use more.
        bins: (mean loss in nats, mean MACs fraction, images) of equal groups of images by loss, ten
            of them or as many as there can be with ten images each.
        by_correct: (mean MACs fraction, images) of wrong and of right predictions; empty where
            correctness is no yes or no.
    """

    with_loss: RankCorrelation
    with_correct: RankCorrelation
    bins: list[tuple[float, float, int]]
    by_correct: dict[str, tuple[float, int]]


def spearman(x: Array, y: Array) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN if x or y is constant."""
    ranks = np.stack([rankdata(x), rankdata(y)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    norms = np.sqrt((ranks**2).sum(axis=1))
    if not norms.all():
        return math.nan
    return float(ranks[0] @ ranks[1] / (norms[0] * norms[1]))


def rank_correlation(
    x: Array, y: Array, *, resamples: int = 1000, seed: int = 0
) -> RankCorrelation:
    """Spearman's rank correlation with its 95 % percentile bootstrap interval.

    Args:
        x: One value per image, shape (N,), N >= 1.
        y: The other, shape (N,).
        resamples: Sets of N images, drawn with replacement.
        seed: Seed of the draws.
    """
    random = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        images = random.integers(len(x), size=len(x))
        draws.append(spearman(x[images], y[images]))
    defined = np.array([rho for rho in draws if not math.isnan(rho)])
    low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) else (math.nan, math.nan)
    return RankCorrelation(spearman(x, y), float(low), float(high), len(x), resamples)


def loss_and_correct(profile: GateProfile) -> tuple[Array, Array, Array]:
    """MACs fraction, loss and correctness of the images that have a ground truth, shape (N,)."""
    rows = [
        (fraction, image.outcome.loss, image.outcome.correct)
        for fraction, image in zip(profile.macs_fractions, profile.images, strict=True)
        if not math.isnan(image.outcome.loss)
    ]
    macs, loss, correct = np.array(rows, dtype=float).reshape(-1, 3).T
    return macs, loss, correct


def difficulty(profile: GateProfile, *, resamples: int | None = None) -> Difficulty | None:
    """Relate MACs to loss and correctness; None if no image has a ground truth.

    Args:
        profile: Profile of the model.
        resamples: Resamples of the bootstrap. The default is 1000, and 200 for more than 10,000
            images, whose intervals are narrow and whose ranks take long to sort.
    """
    macs, loss, correct = loss_and_correct(profile)
    if not len(macs):
        return None
    if resamples is None:
        resamples = 1000 if len(macs) <= 10_000 else 200
    num_groups = min(10, max(len(loss) // 10, 1))
    groups = np.array_split(np.argsort(loss, kind="stable"), num_groups)
    yes_or_no = bool(np.isin(correct, (0, 1)).all())
    return Difficulty(
        rank_correlation(macs, loss, resamples=resamples),
        rank_correlation(macs, correct, resamples=resamples),
        [(float(loss[g].mean()), float(macs[g].mean()), len(g)) for g in groups],
        {
            name: (float(macs[correct == value].mean()), int((correct == value).sum()))
            for name, value in (("wrong", 0), ("right", 1))
            if yes_or_no and (correct == value).any()
        },
    )


def difficulty_figure(profile: GateProfile, result: Difficulty) -> matplotlib.figure.Figure:
    """MACs against loss on the left, against correctness on the right."""
    macs, loss, correct = loss_and_correct(profile)
    figure = new_figure(9.6, 3.8)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    # A logarithmic axis has too few round numbers for less than a decade.
    shown = np.maximum(loss, _SMALLEST_LOSS)
    _draw_cloud(left, shown, 100 * macs, log=shown.max() > 20 * shown.min())
    if len(result.bins) >= _FEWEST_GROUPS:
        centers = [max(center, _SMALLEST_LOSS) for center, _, _ in result.bins]
        means = [100 * mean for _, mean, _ in result.bins]
        label = "mean of equal groups by loss"
        left.plot(centers, means, "o-", color=VERMILION, label=label)
        # Above the axes: nowhere inside is sure to be free of images.
        left.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=9)
    left.set(xlabel="loss of the image (nats)", ylabel="MACs (% of dense)")
    if result.by_correct:
        _draw_boxes(right, 100 * macs, correct, result)
    else:
        _draw_cloud(right, 100 * correct, 100 * macs, log=False)
        right.set_xlabel("pixels right (%)")
    return figure


def _draw_cloud(axis: Any, x: Array, y: Array, *, log: bool) -> None:
    scale = "log" if log else "linear"
    if len(x) > _MOST_POINTS:
        axis.hexbin(x, y, xscale=scale, bins="log", gridsize=50, cmap=SCALE, mincnt=1)
        return
    axis.set_xscale(scale)
    size, alpha = (9, 1.0) if len(x) < _FEW_POINTS else (6, 0.6)
    axis.plot(x, y, ".", color=SKY_BLUE, alpha=alpha, markersize=size, markeredgewidth=0)


def _draw_boxes(axis: Any, macs: Array, correct: Array, result: Difficulty) -> None:
    names: Sequence[str] = list(result.by_correct)
    values = [macs[correct == (name == "right")] for name in names]
    boxes = axis.boxplot(
        values, widths=0.5, patch_artist=True, medianprops=dict(color="white", linewidth=2)
    )
    for box, name in zip(boxes["boxes"], names, strict=True):
        box.set_facecolor(BLUE if name == "right" else VERMILION)
    labels = [f"{name}\n({result.by_correct[name][1]} images)" for name in names]
    axis.set_xticks(range(1, len(names) + 1), labels)
    axis.set_xlabel("prediction")
