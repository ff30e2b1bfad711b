"""The open gates of one image: which channels a network computes for it."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.figure
import numpy as np
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray

from mmbas.analysis.plot_style import BLUE, GREY, new_figure

_ROW_HEIGHT = 0.26  # inches
_CLOSED = GREY + "30"  # so pale that open channels stand out on light and dark paper


def open_gates_figure(
    image: NDArray[np.uint8], gates: Mapping[str, NDArray[np.bool_]], *, title: str
) -> matplotlib.figure.Figure:
    """The image beside one row per layer, in which a cell is a channel: filled if it is computed.

    Args:
        image: Shape (H, W, 3), red first.
        gates: Mask of the open gates, shape (G_layer,), by the name of the layer.
        title: Text above, such as the prediction.

    Raises:
        ValueError: If there are no gates.
    """
    if not gates:
        raise ValueError("expected the gates of at least one layer, but got none")
    figure = new_figure(8.4, max(2.6, _ROW_HEIGHT * len(gates) + 0.9))
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.4))
    left.imshow(image, interpolation="nearest")
    left.set_axis_off()
    figure.suptitle(title)
    for row, layer in enumerate(gates.values()):
        edges = np.linspace(0, 1, len(layer) + 1)
        right.pcolormesh(
            edges,
            [row - 0.4, row + 0.4],
            layer[None].astype(float),
            cmap=ListedColormap([_CLOSED, BLUE]),
            vmin=0,
            vmax=1,
            edgecolors=[right.get_facecolor()],  # a seam between neighbours
            linewidth=0.8,
        )
    right.set(xlim=(0, 1), xticks=[], ylim=(len(gates) - 0.5, -0.5))
    right.set_yticks(
        range(len(gates)),
        [f"{name}: {layer.sum()} of {len(layer)}" for name, layer in gates.items()],
    )
    right.set_xlabel("channels; filled: open, computed for this image")
    right.spines[:].set_visible(False)
    right.tick_params(length=0)
    return figure
