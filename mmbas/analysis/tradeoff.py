"""Accuracy against average MACs, one line per method (figures 3 and 8 of the paper)."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.axes
import matplotlib.figure

from mmbas.analysis.plot_style import PALETTE, new_figure, theme

# What a result is judged by, with the factor that makes it percent.
METRICS = {"accuracy": 100.0, "mIoU": 1.0}
_SEED = re.compile(r"_seed\d+$")
_DENSE_MARKERS = "*PXDv"
_LINE_MARKERS = "os^dv<>"


@dataclass(frozen=True)
class RunResult:
    """One run.

    Attributes:
        method: Name of the line it belongs to.
        point: Its name without seed; the runs of a point are averaged.
        dense: Whether it is a plain network.
        data: Data set, by name.
        metric: ``'accuracy'`` or ``'mIoU'``.
        score: The metric in percent.
        macs: Average MACs per image.
        fraction: Their share of the dense MACs, 0 to 1.
    """

    method: str
    point: str
    dense: bool
    data: str
    metric: str
    score: float
    macs: float
    fraction: float


@dataclass(frozen=True)
class Spread:
    """Mean, lowest and highest of the runs of a point."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class TradeoffPoint:
    """The runs of one setting that differ in the seed alone; attributes as in RunResult."""

    method: str
    point: str
    dense: bool
    num_runs: int
    score: Spread
    macs: Spread
    fraction: Spread


def point_name(run: str) -> str:
    """The name of a run without its seed: runs of one name are repetitions."""
    return _SEED.sub("", run)


def load_results(paths: Sequence[Path]) -> list[RunResult]:
    """Read results, one JSON file per run.

    Args:
        paths: Files with the keys ``name``, ``method``, ``dense``, ``data``, ``macs/average``,
            ``macs/fraction`` (0 to 1), and either ``accuracy`` (0 to 1) or ``mIoU`` (percent).

    Raises:
        ValueError: With the file's name, if it is no such result, if a run comes twice, or if the
            files have different data sets or metrics.
    """
    if not paths:
        raise ValueError("expected at least one result, but got none")
    results: list[RunResult] = []
    file_of: dict[tuple[str, str], Path] = {}
    for path in paths:
        record = _read(path)
        result = _parse(record, path)
        run = (result.method, record["name"])
        if run in file_of:
            raise ValueError(
                f"expected each run once, but {path} has {record['name']!r} of {result.method!r} "
                f"as {file_of[run]} has; drop one of them"
            )
        file_of[run] = path
        for key in ("data", "metric"):
            expected, got = getattr((results or [result])[0], key), getattr(result, key)
            if got != expected:
                raise ValueError(
                    f"expected {key} {expected!r} as in {paths[0]}, but got {got!r} in {path}; "
                    "draw each in a picture of its own"
                )
        results.append(result)
    return results


def tradeoff_points(results: Sequence[RunResult]) -> list[TradeoffPoint]:
    """Average the runs of each point; methods in the order given, points by rising MACs."""
    groups: dict[tuple[str, bool, str], list[RunResult]] = {}
    for result in results:
        groups.setdefault((result.method, result.dense, result.point), []).append(result)
    points = [
        TradeoffPoint(
            method=method,
            point=point,
            dense=dense,
            num_runs=len(runs),
            score=_spread([run.score for run in runs]),
            macs=_spread([run.macs for run in runs]),
            fraction=_spread([run.fraction for run in runs]),
        )
        for (method, dense, point), runs in groups.items()
    ]
    order = list(dict.fromkeys(result.method for result in results))
    return sorted(points, key=lambda p: (order.index(p.method), p.dense, p.macs.mean))


def draw_tradeoff(
    points: Sequence[TradeoffPoint], *, data: str, metric: str, relative: bool = False
) -> matplotlib.figure.Figure:
    """A line for each gated method, a single mark for each point of a dense one.

    Args:
        points: What :func:`tradeoff_points` returns.
        data: Data set, the title.
        metric: ``'accuracy'`` or ``'mIoU'``, the vertical axis.
        relative: The horizontal axis is the share of the dense MACs in percent instead of MACs.
    """
    unit, scale = ("%", 100.0) if relative else _macs_unit(points)
    settings: Any = theme(dark=False)
    with mpl.rc_context(settings):
        figure = new_figure(9.0, 4.8)
        axes = figure.subplots()
        axes.grid(True, linewidth=0.6)
        axes.set_axisbelow(True)
        looks = {False: _line_looks(), True: _dense_looks()}
        for (_, dense), group in itertools.groupby(points, key=lambda p: (p.method, p.dense)):
            _draw_method(axes, list(group), next(looks[dense]), relative=relative, scale=scale)
        axes.set_title(data)
        kind = "average MACs, share of dense" if relative else "average MACs per image"
        axes.set_xlabel(f"{kind} ({unit})")
        axes.set_ylabel(f"{metric} (%)")
        several = any(point.num_runs > 1 for point in points)
        # Beside the axes: nowhere inside is sure to be free of points.
        # Marks alone: the legend's error bars would hide those of the dense networks.
        axes.legend(
            handles=[container[0] for container in axes.containers],
            labels=[container.get_label() for container in axes.containers],
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


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"expected a result in {path}, but could not read it: {error}") from error
    needed = ["name", "method", "dense", "data", "macs/average", "macs/fraction"]
    missing = [key for key in needed if not isinstance(record, dict) or key not in record]
    if not missing and sum(metric in record for metric in METRICS) != 1:
        missing = [" or ".join(METRICS)]
    if missing:
        raise ValueError(
            f"expected a result of one run in {path}, but it lacks {', '.join(missing)}; "
            "tools/reproduce.py writes such files"
        )
    return dict(record)


def _parse(record: dict[str, Any], path: Path) -> RunResult:
    metric = next(metric for metric in METRICS if metric in record)
    for key in (metric, "macs/average", "macs/fraction"):
        value = record[key]
        if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            raise ValueError(f"expected a finite number as {key} in {path}, but got {value!r}")
    return RunResult(
        method=str(record["method"]),
        point=point_name(str(record["name"])),
        dense=bool(record["dense"]),
        data=str(record["data"]),
        metric=metric,
        score=METRICS[metric] * record[metric],
        macs=float(record["macs/average"]),
        fraction=float(record["macs/fraction"]),
    )


def _spread(values: list[float]) -> Spread:
    return Spread(mean=math.fsum(values) / len(values), low=min(values), high=max(values))


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


def _draw_method(
    axes: matplotlib.axes.Axes,
    points: list[TradeoffPoint],
    look: dict[str, Any],
    *,
    relative: bool,
    scale: float,
) -> None:
    costs = [point.fraction if relative else point.macs for point in points]
    runs = sorted({point.num_runs for point in points})
    label = f"{points[0].method} (n = {' to '.join(map(str, dict.fromkeys((runs[0], runs[-1]))))})"
    axes.errorbar(
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
        label=label,
        **look,
    )
