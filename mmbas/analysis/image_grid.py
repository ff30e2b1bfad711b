"""Rows of small grey images as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.figure
import numpy as np
from numpy.typing import NDArray

from mmbas.analysis.plot_style import new_figure, render_png


def image_grid(rows: Mapping[str, NDArray[np.float32]]) -> matplotlib.figure.Figure:
    """One row of images for each name.

    Args:
        rows: Images by name, shape (N, height, width), values 0 to 1, 1 drawn black.
    """
    columns = max(map(len, rows.values()))
    figure = new_figure(0.62 * columns + 0.8, 0.62 * len(rows) + 0.1)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (name, images) in zip(grid, rows.items(), strict=True):
        for axis in axes:
            axis.set_axis_off()
        for axis, image in zip(axes, images, strict=False):
            axis.imshow(1 - image, cmap="gray", vmin=0, vmax=1)
        axes[0].text(-0.15, 0.5, name, transform=axes[0].transAxes, ha="right", va="center")
    return figure


def draw_image_grid(rows: Mapping[str, NDArray[np.float32]], path: str | Path) -> None:
    """Write :func:`image_grid` as PNG; makes its folder where it is missing."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(render_png(lambda: image_grid(rows)))
