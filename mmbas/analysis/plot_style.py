"""Colours, light and dark, of all pictures.

Palette: M. Okabe, K. Ito, Color Universal Design, https://jfly.uni-koeln.de/color/: told apart with
any kind of colour blindness. Values on a scale are in viridis.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import matplotlib.figure
import numpy as np
from numpy.typing import NDArray

ORANGE, SKY_BLUE, GREEN, BLUE, VERMILION, PURPLE = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY_BLUE, VERMILION)
GREY = "#8A8F98"
SCALE = "viridis"

# Pixels of a page per inch of a figure: text of 10 points is then 14 pixels high at 100 % zoom.
PAGE_DPI = 100
PNG_DPI = 2 * PAGE_DPI  # sharp on screens with two pixels per point


def theme(*, dark: bool) -> dict[str, Any]:
    """Matplotlib settings for figures on a light or a dark page."""
    ink, paper, line = (
        ("#E6EDF3", "#161B22", "#3D444D") if dark else ("#1F2328", "#FFFFFF", "#D1D9E0")
    )
    return {
        "figure.facecolor": paper,
        "savefig.facecolor": paper,
        "axes.facecolor": paper,
        "axes.edgecolor": ink,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "text.color": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "legend.facecolor": paper,
        "legend.edgecolor": line,
        "grid.color": line,
        "boxplot.boxprops.color": ink,
        "boxplot.whiskerprops.color": ink,
        "boxplot.capprops.color": ink,
        "boxplot.flierprops.markeredgecolor": ink,
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }


def render_png(draw: Callable[[], matplotlib.figure.Figure], *, dark: bool = False) -> bytes:
    """A figure as PNG, drawn for a light or a dark page."""
    settings: Any = theme(dark=dark)
    with mpl.rc_context(settings):
        buffer = io.BytesIO()
        draw().savefig(buffer, format="png", dpi=PNG_DPI)
    return buffer.getvalue()


def new_figure(width: float, height: float) -> matplotlib.figure.Figure:
    """An empty figure; sizes in inches, 1 inch is 100 pixels of a page."""
    return matplotlib.figure.Figure(figsize=(width, height), layout="constrained")


def is_bgr(config: Any) -> bool:
    """Tell whether the images of a config have blue first: then its preprocessor swaps them.

    Args:
        config: With the ``data_preprocessor`` of an OpenMMLab host, own or of the model.
    """
    settings = config.model.get("data_preprocessor") or config.get("data_preprocessor") or {}
    return bool(settings.get("to_rgb") or settings.get("bgr_to_rgb"))


def to_rgb(image: Any, *, bgr: bool) -> NDArray[np.uint8]:
    """A sample's ``inputs``, uint8, shape (3, H, W), as (H, W, 3) with red first."""
    channels = np.asarray(image)
    return np.ascontiguousarray((channels[::-1] if bgr else channels).transpose(1, 2, 0))
