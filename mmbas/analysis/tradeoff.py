"""Results of runs as points of accuracy and average MACs; tradeoff_plot.py draws them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What a result is judged by, with the factor that makes it percent.
METRICS = {"accuracy": 100.0, "mIoU": 1.0}
_SEED = re.compile(r"_seed\d+$")


@dataclass(frozen=True)
class RunResult:
    """One run.

    Attributes:
        method: Name of the line it belongs to.
        point: Its name without seed; the runs of a point are averaged.
        dense: True for a plain network.
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


def plain_frontier(points: Sequence[TradeoffPoint]) -> list[TradeoffPoint]:
    """The plain networks that no plain network of at most their MACs equals, by rising MACs."""
    frontier: list[TradeoffPoint] = []
    plain = [point for point in points if point.dense]
    for point in sorted(plain, key=lambda p: (p.macs.mean, -p.score.mean)):
        if not frontier or point.score.mean > frontier[-1].score.mean:
            frontier.append(point)
    return frontier


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
