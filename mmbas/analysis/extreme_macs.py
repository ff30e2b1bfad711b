"""The images that cost the most and the least (figure 4 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np

from mmbas.analysis.plot_style import new_figure, to_rgb

_CELL_WIDTH = 2.4  # inches


def extremes(fractions: Sequence[float], k: int) -> tuple[list[int], list[int]]:
    """Positions of the ``k`` highest values, highest first, and of the lowest, lowest first.

    Raises:
        ValueError: If k < 1 or there are fewer than k values.
    """
    if not 1 <= k <= len(fractions):
        raise ValueError(f"expected k from 1 to {len(fractions)} images, but got {k}")
    order = [int(i) for i in np.argsort(fractions, kind="stable")]
    return order[::-1][:k], order[:k]


def extremes_figure(
    dataset: Any, fractions: Sequence[float], *, k: int, bgr: bool = True
) -> matplotlib.figure.Figure:
    """The ``k`` images with the highest and the lowest MACs in two rows.

    Args:
        dataset: ``dataset[i]["inputs"]`` is the image, uint8, shape (3, H, W).
        fractions: Conditional MACs of each image as a fraction of dense.
        k: Images per row.
        bgr: True if the first channel is blue, as OpenCV loads images; False if it is red.
    """
    rows = [
        (label, [(i, to_rgb(dataset[i]["inputs"], bgr=bgr)) for i in positions])
        for label, positions in zip(("highest", "lowest"), extremes(fractions, k), strict=True)
    ]
    height, width = rows[0][1][0][1].shape[:2]
    figure = new_figure(_CELL_WIDTH * k, 2 * (_CELL_WIDTH * height / width + 0.35))
    axes = figure.subplots(2, k, squeeze=False)
    for row, (label, images) in enumerate(rows):
        for axis, (i, image) in zip(axes[row], images, strict=True):
            axis.imshow(image, interpolation="nearest")
            axis.set_title(f"{label}: {fractions[i]:.1%} of dense MACs", fontsize=9)
            axis.set_axis_off()
    return figure


def draw_extremes(
    dataset: Any, fractions: Sequence[float], *, k: int, path: Path, bgr: bool = True
) -> None:
    """Write :func:`extremes_figure` to ``path``, whose ending chooses the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    extremes_figure(dataset, fractions, k=k, bgr=bgr).savefig(path, dpi=120)
