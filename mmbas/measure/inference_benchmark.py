"""One run of the inference benchmark: contenders, timings in turns, ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mmbas.measure.contenders import (
    Batch,
    caller,
    check_can_be_timed,
    max_rel_diff,
    realised_macs,
    total_macs,
)
from mmbas.measure.cpu_class import cpu_class, limits
from mmbas.measure.dense_run import Call
from mmbas.measure.dense_runs import DenseRuns, DenseSettings, dense_runs
from mmbas.measure.gated_ways import GatedWays, gated_ways, of_dtype
from mmbas.measure.onnx_twin import INT8
from mmbas.measure.plain_network import folded_plain, plain_twin
from mmbas.measure.stage_times import stage_times
from mmbas.measure.timing import interleaved_seconds, median_ms, median_ratio
from mmbas.sliced.folding import folded

Result = dict[str, Any]
Seconds = dict[str, list[float]]

PREDICT_SLICED, PREDICT_DENSE = "predict, sliced", "predict, torch eager"
RIVAL = "rival "  # before the names of the other network's runs


@dataclass(frozen=True)
class Settings:
    """Choice of the measurements.

    Attributes:
        repeats: Counted calls of each contender.
        paths: Execution paths of the sliced network.
        dense: Runs of the network without gates.
        per_stage: True to time each stage too.
        device: Where everything runs.
        dtype: Type of the gated network's weights and images.
    """

    repeats: int
    paths: tuple[str, ...]
    dense: DenseSettings
    per_stage: bool = False
    device: str = "cpu"
    dtype: torch.dtype = torch.float32


def measure(
    gated: nn.Module,
    batches: Sequence[Batch],
    settings: Settings,
    rival: nn.Module | None = None,
) -> Result:
    """Time a gated network masked and sliced, and the same without gates in every library.

    Args:
        gated: Float32, in evaluation mode.
        batches: One for each counted call.
        settings: Choice of the measurements.
        rival: Another network without gates, such as a smaller one of about as many MACs, timed in
            the same turns on the same images; gates are taken out if it has any.

    Returns:
        Times in ms (medians) and ratios; what is not measured is None.

    Raises:
        ValueError: If no path can run the network, or a network cannot be called with images.
    """
    batches = [batch.to(settings.device) for batch in batches]
    ways = _gated_ways(gated.to(settings.device), batches, settings)
    dense = {"": _dense_runs(gated, batches, settings)}
    if rival is not None:
        dense[RIVAL] = _dense_runs(rival.to(settings.device), batches, settings)
    calls = {
        prefix + name: run.call() for prefix, x in dense.items() for name, run in x.runs.items()
    }
    predictions = _predict_calls(gated, batches, ways, settings.dtype)
    seconds = interleaved_seconds(
        {**calls, **ways.calls, **predictions},
        repeats=settings.repeats,
        warmup=min(3, settings.repeats // 5),  # large networks are slow, and all have run once
        settle=True,
        device=settings.device,
    )
    result = _figures(gated, batches, ways, seconds, settings)
    result |= _dense_figures(dense[""], seconds, "", ways.path)
    result["predict"] = _predict_figures(seconds) if predictions else None
    if rival is not None:
        result["rival"] = _dense_figures(dense[RIVAL], seconds, RIVAL, ways.path)
    for prefix, runs in dense.items():
        result["left_out"] |= {prefix + name: reason for name, reason in runs.left_out.items()}
    if settings.per_stage:
        result["per_stage"] = stage_times(gated, batches, ways.path, settings.dtype)
    return result


def _predict_calls(
    gated: nn.Module, batches: Sequence[Batch], ways: GatedWays, dtype: torch.dtype
) -> dict[str, Call]:
    """Predictions as a user calls them, costs per image included; none of a bare backbone."""
    if not hasattr(gated, "predict"):
        return {}
    own = [batch.to(dtype) for batch in batches]
    plain = folded(plain_twin(gated)).to(dtype)
    return {
        PREDICT_SLICED: caller(ways.sliced[ways.path], own, predict=True),
        PREDICT_DENSE: caller(plain, own, predict=True),
    }


def _predict_figures(seconds: Seconds) -> Result:
    sliced, dense = seconds[PREDICT_SLICED], seconds[PREDICT_DENSE]
    return {
        "sliced_ms": median_ms(sliced),
        "dense_eager_ms": median_ms(dense),
        "ratio": median_ratio(sliced, dense),
    }


def _gated_ways(gated: nn.Module, batches: Sequence[Batch], settings: Settings) -> GatedWays:
    check_can_be_timed(gated, batches[0].images)
    return gated_ways(*of_dtype(gated, batches, settings.dtype), settings.paths, settings.device)


def _dense_runs(model: nn.Module, batches: Sequence[Batch], settings: Settings) -> DenseRuns:
    images = [batch.images for batch in batches]
    check_can_be_timed(model, images[0])
    return dense_runs(folded_plain(plain_twin(model), images[0]), images, settings.dense)


def _figures(
    gated: nn.Module,
    batches: Sequence[Batch],
    ways: GatedWays,
    seconds: Seconds,
    settings: Settings,
) -> Result:
    """Measurements of the gated network, and the settings that they depend on."""
    dtype = str(settings.dtype).removeprefix("torch.")
    own = [batch.to(settings.dtype) for batch in batches]
    plain = plain_twin(gated).to(settings.dtype)
    conditional, dense = total_macs(ways.sliced[ways.path], plain, own)
    macs = conditional / dense
    references = {kind: f"torch {kind} {dtype}" for kind in ("eager", "compiled")}
    paths = {
        name: {
            **_ratios(seconds, name, references, macs),
            "max_rel_diff": max_rel_diff(ways.masked, model, own),
            "realised_macs_ratio": realised_macs(model, own) / dense,
        }
        for name, model in ways.sliced.items()
    }
    return {
        **{f"dense_{kind}_ms": _median(seconds, name) for kind, name in references.items()},
        "masked_ms": median_ms(seconds["masked"]),
        **paths[ways.path],
        "macs_ratio": macs,
        "path": ways.path,
        "paths": paths,
        "left_out": dict(ways.left_out),
        "layouts": {"masked": ways.layout},
        "threads": torch.get_num_threads(),
        "batch_size": len(batches[0].images),
        "shape": list(batches[0].images.shape[2:]),
        "repeats": settings.repeats,
        "device": settings.device,
        "dtype": dtype,
        "cpu_class": cpu_class(),
        "cpu_limits": limits(),
    }


def _ratios(seconds: Seconds, name: str, references: dict[str, str], macs: float) -> Result:
    """Time of a way to run the gated network, and its ratios to torch's dense runs."""
    result: Result = {"sliced_ms": median_ms(seconds[name])}
    for kind, reference in references.items():
        dense = seconds.get(reference)
        ratio = None if dense is None else median_ratio(seconds[name], dense)
        result[f"time_ratio_{kind}"] = ratio
        result[f"efficiency_{kind}"] = None if ratio is None else ratio / macs
    return result


def _dense_figures(runs: DenseRuns, seconds: Seconds, prefix: str, path: str) -> Result:
    """Every run of a network without gates, and the fastest that does not change its numbers.

    int8 is left out of the choice: what it costs in accuracy must be measured first.
    """
    rows: list[Result] = [
        {
            "name": name,
            "ms": median_ms(seconds[prefix + name]),
            "precision": run.precision,
            "library": run.library,
            "version": run.version,
            "layout": run.layout,
            "max_rel_diff": runs.differences[name],
            "ratio": median_ratio(seconds[path], seconds[prefix + name]),
        }
        for name, run in runs.runs.items()
    ]
    floats = [row for row in rows if row["precision"] != INT8]
    best = min(floats, key=lambda row: row["ms"], default=None)
    return {
        "dense": sorted(rows, key=lambda row: row["ms"]),
        "dense_best": best and best["name"],
        "dense_best_ms": best and best["ms"],
        "ratio_best": best and best["ratio"],
    }


def _median(seconds: Seconds, name: str) -> float | None:
    return median_ms(seconds[name]) if name in seconds else None
