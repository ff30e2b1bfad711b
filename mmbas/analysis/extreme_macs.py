"""The images that cost the most and the least (figure 4 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
from numpy.typing import NDArray


def extremes(fractions: Sequence[float], k: int) -> tuple[list[int], list[int]]:
    """Positions of the ``k`` highest values, highest first, and of the lowest, lowest first.

    Raises:
        ValueError: If k < 1 or there are fewer than k values.
    """
    if not 1 <= k <= len(fractions):
        raise ValueError(f"expected k from 1 to {len(fractions)} images, but got {k}")
    order = [int(i) for i in np.argsort(fractions, kind="stable")]
    return order[::-1][:k], order[:k]


def draw_extremes(dataset: Any, fractions: Sequence[float], *, k: int, path: Path) -> None:
    """Draw the ``k`` images with the highest and the lowest MACs in two rows.

    Args:
        dataset: ``dataset[i]["inputs"]`` is the image, uint8, shape (3, H, W), in BGR as OpenCV
            loads it.
        fractions: For each image its conditional MACs as a fraction of dense.
        k: Images per row.
        path: Of the picture; its ending chooses the format.
    """
    figure = matplotlib.figure.Figure(figsize=(3.2 * k, 5.6), layout="constrained")
    axes = figure.subplots(2, k, squeeze=False)
    for row, (label, positions) in enumerate(
        zip(("highest", "lowest"), extremes(fractions, k), strict=True)
    ):
        for column, i in enumerate(positions):
            axis = axes[row, column]
            axis.imshow(_rgb(dataset[i]["inputs"]))
            axis.set_title(f"{label}: {fractions[i]:.1%} of dense MACs", fontsize=9)
            axis.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _rgb(image: Any) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(image)[::-1].transpose(1, 2, 0))
