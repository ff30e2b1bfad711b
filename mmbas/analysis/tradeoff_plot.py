"""Accuracy against average MACs, one line per method (figures 3 and 8 of the paper).

Plain networks are what gated ones are judged by, so the best of them form a line of their own.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.axes
import matplotlib.figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from mmbas.analysis.plot_style import PALETTE, new_figure, theme
from mmbas.analysis.tradeoff import TradeoffPoint, plain_frontier

_DENSE_MARKERS = "*PXDv"
_LINE_MARKERS = "os^dv<>"
# From so many times the median cost on, a point would squeeze the others on a linear axis.
_FAR_OUT = 5.0


def draw_tradeoff(
    points: Sequence[TradeoffPoint], *, data: str, metric: str, relative: bool = False
) -> matplotlib.figure.Figure:
    """A line for each gated method, marks for the plain networks and a line for the best of them.

    The legend has the plain networks first, then the gated methods by their highest score. The
    axis of the costs is logarithmic where a point lies far out.

    Args:
        points: Points made by :func:`tradeoff_points`.
        data: Data set, the title.
        metric: ``'accuracy'`` or ``'mIoU'``, the vertical axis.
        relative: The horizontal axis is the share of the dense MACs in percent instead of MACs.
            Each plain network is then at 100 %, so there is no line of them.
    """
    unit, scale = ("%", 100.0) if relative else _macs_unit(points)
    settings: Any = theme(dark=False)
    with mpl.rc_context(settings):
        figure = new_figure(9.0, 4.8)
        axes = figure.subplots()
        axes.grid(True, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_title(data)
        kind = "average MACs, share of dense" if relative else "average MACs per image"
        axes.set_xlabel(f"{kind} ({unit})")
        axes.set_ylabel(f"{metric} (%)")
        if not relative and _far_out([point.macs.mean for point in points]):
            _make_logarithmic(axes)
        frontier = None if relative else _draw_frontier(axes, plain_frontier(points), scale)
        looks = {False: _line_looks(), True: _dense_looks()}
        entries = [] if frontier is None else [(-math.inf, frontier, "best plain networks")]
        for (_, dense), methods in itertools.groupby(points, key=lambda p: (p.method, p.dense)):
            group = list(methods)
            mark = _draw_method(axes, group, next(looks[dense]), relative=relative, scale=scale)
            place = -1.0 if dense else 100.0 - max(point.score.mean for point in group)
            entries.append((place, mark, _label(group)))
        several = any(point.num_runs > 1 for point in points)
        entries.sort(key=lambda entry: entry[0])
        # Beside the axes: nowhere inside is sure to be free of points.
        axes.legend(
            handles=[mark for _, mark, _ in entries],
            labels=[label for _, _, label in entries],
            title="mean of n runs,\nbars: lowest to highest" if several else None,
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0.0,
        )
    return figure


def save_tradeoff(figure: matplotlib.figure.Figure, out: Path) -> list[Path]:
    """Write the figure as its ending says; without an ending as PNG and as SVG.

    Raises:
        ValueError: If the ending is neither.
    """
    if out.suffix not in ("", ".png", ".svg"):
        raise ValueError(f"expected a file ending in .png or .svg, or no ending, but got {out}")
    paths = [out] if out.suffix else [out.with_suffix(".png"), out.with_suffix(".svg")]
    out.parent.mkdir(parents=True, exist_ok=True)
    for path in paths:
        figure.savefig(path, dpi=200)
    return paths


def _macs_unit(points: Sequence[TradeoffPoint]) -> tuple[str, float]:
    largest = max(point.macs.high for point in points)
    return ("G", 1e-9) if largest >= 1e9 else ("M", 1e-6)


def _line_looks() -> Any:
    """Colour, marker and line of one method after the other: each pair tells them apart."""
    for i in itertools.count():
        colour, marker = PALETTE[i % len(PALETTE)], _LINE_MARKERS[i % len(_LINE_MARKERS)]
        style = ("-", "--", ":", "-.")[i // len(PALETTE) % 4]
        yield dict(color=colour, marker=marker, linestyle=style, markersize=5, linewidth=1.6)


def _dense_looks() -> Any:
    for marker in itertools.cycle(_DENSE_MARKERS):
        yield dict(color="black", marker=marker, linestyle="none", markersize=9)


def _far_out(costs: Sequence[float]) -> bool:
    return min(costs) > 0 and max(costs) > _FAR_OUT * statistics.median(costs)


def _make_logarithmic(axes: matplotlib.axes.Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(ScalarFormatter())  # 20 instead of 2 x 10^1
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw_frontier(
    axes: matplotlib.axes.Axes, frontier: Sequence[TradeoffPoint], scale: float
) -> Any:
    """The line through the best plain networks; None if there are fewer than two."""
    if len(frontier) < 2:
        return None
    (line,) = axes.plot(
        [scale * point.macs.mean for point in frontier],
        [point.score.mean for point in frontier],
        color="black",
        linestyle="--",
        linewidth=1.2,
        zorder=1,
    )
    return line


def _label(points: Sequence[TradeoffPoint]) -> str:
    runs = sorted({point.num_runs for point in points})
    return f"{points[0].method} (n = {' to '.join(map(str, dict.fromkeys((runs[0], runs[-1]))))})"


def _draw_method(
    axes: matplotlib.axes.Axes,
    points: list[TradeoffPoint],
    look: dict[str, Any],
    *,
    relative: bool,
    scale: float,
) -> Any:
    """The points of a method; plain networks that share a mark have their names beside it.

    Returns:
        The legend's entries: marks alone, since error bars would hide those of plain networks.
    """
    costs = [point.fraction if relative else point.macs for point in points]
    container = axes.errorbar(
        [scale * cost.mean for cost in costs],
        [point.score.mean for point in points],
        xerr=[
            [scale * (c.mean - c.low) for c in costs],
            [scale * (c.high - c.mean) for c in costs],
        ],
        yerr=[
            [point.score.mean - point.score.low for point in points],
            [point.score.high - point.score.mean for point in points],
        ],
        elinewidth=1.0,
        capsize=2.5,
        label=_label(points),
        **look,
    )
    if points[0].dense and len(points) > 1:
        for point, cost in zip(points, costs, strict=True):
            axes.annotate(
                point.point,
                (scale * cost.mean, point.score.mean),
                xytext=(5, -11),
                textcoords="offset points",
                fontsize=8,
            )
    return container[0]
