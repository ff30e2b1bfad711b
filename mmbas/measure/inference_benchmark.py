"""One run of the inference benchmark: contenders, timings in turns, ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mmbas.backbones.description import BACKBONES
from mmbas.gates import named_gates
from mmbas.measure.contenders import (
    Batch,
    Call,
    caller,
    compiled_caller,
    faster_layout,
    folded_pair,
    max_rel_diff,
    plain_twin,
    total_macs,
    truncated,
)
from mmbas.measure.timing import interleaved_seconds, median_ms, median_ratio
from mmbas.sliced.accelerate import accelerate

Result = dict[str, Any]

REFERENCES = ("dense_eager", "dense_compiled", "masked")


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes:
        repeats: Counted calls of each contender.
        paths: Execution paths of the sliced network.
        compile_dense: Whether the compiled plain network takes part.
        per_stage: Whether each stage is timed too.
        device: Where everything runs.
        dtype: Of weights and images.
    """

    repeats: int
    paths: tuple[str, ...]
    compile_dense: bool = True
    per_stage: bool = False
    device: str = "cpu"
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Contenders:
    """What is timed, by name, and what could not be.

    Attributes:
        calls: ``dense_eager``, ``masked``, perhaps ``dense_compiled``, and each path's name.
        sliced: The accelerated network of each path.
        left_out: By name why it is not timed.
        layouts: In which memory layout dense and masked run.
    """

    calls: dict[str, Call]
    sliced: dict[str, nn.Module]
    left_out: dict[str, str]
    layouts: dict[str, str]


def measure(gated: nn.Module, batches: Sequence[Batch], settings: Settings) -> Result:
    """Time a gated network, dense, masked and sliced.

    Args:
        gated: In evaluation mode.
        batches: One for each counted call.
        settings: What to measure.

    Returns:
        Times in ms (medians) and ratios; what is not measured is None.

    Raises:
        ValueError: If no path can run the network.
    """
    device = torch.device(settings.device)
    gated = gated.to(device, settings.dtype)
    batches = [_on(batch, device, settings.dtype) for batch in batches]
    contenders = _contenders(gated, batches, settings)
    seconds = interleaved_seconds(
        contenders.calls,
        repeats=settings.repeats,
        warmup=min(3, settings.repeats),
        settle=True,
        device=settings.device,
    )
    masked, plain = folded_pair(gated)
    path = _path_of_auto(contenders.sliced)
    conditional, dense = total_macs(contenders.sliced[path], plain, batches)
    macs = conditional / dense
    paths: dict[str, Result] = {
        name: _ratios(seconds, name, macs) | {"max_rel_diff": max_rel_diff(masked, model, batches)}
        for name, model in contenders.sliced.items()
    }
    result: Result = {
        **{f"{key}_ms": _median(seconds, key) for key in REFERENCES},
        **paths[path],
        "macs_ratio": macs,
        "path": path,
        "paths": paths,
        "left_out": contenders.left_out,
        "layouts": contenders.layouts,
        **_conditions(batches[0].images, settings),
    }
    if settings.per_stage:
        result["per_stage"] = _per_stage(gated, batches, settings, path)
    return result


def _conditions(images: torch.Tensor, settings: Settings) -> Result:
    """What the times depend on besides the network."""
    return {
        "threads": torch.get_num_threads(),
        "batch_size": len(images),
        "shape": list(images.shape[2:]),
        "repeats": settings.repeats,
        "device": settings.device,
        "dtype": str(images.dtype).removeprefix("torch."),
    }


def _on(batch: Batch, device: torch.device, dtype: torch.dtype) -> Batch:
    logits = batch.logits and {
        name: value.to(device, dtype) for name, value in batch.logits.items()
    }
    return Batch(batch.images.to(device, dtype), logits)


def _contenders(gated: nn.Module, batches: Sequence[Batch], settings: Settings) -> Contenders:
    masked, plain = folded_pair(gated)
    layouts, calls, left_out = {}, {}, {}
    for name, model in (("dense_eager", plain), ("masked", masked)):
        layouts[name], calls[name] = faster_layout(model, batches, device=settings.device)
    reason: str | None = "not asked for"
    if settings.compile_dense:
        compiled, reason = compiled_caller(plain, batches)
        if compiled is not None:
            calls["dense_compiled"] = compiled
    if reason is not None:
        left_out["dense_compiled"] = reason
    sliced: dict[str, nn.Module] = {}
    for path in settings.paths:
        try:
            sliced[path] = accelerate(gated, path=path)
        except ValueError as error:
            left_out[path] = str(error)
            continue
        calls[path] = caller(sliced[path], batches)
    if not sliced:
        raise ValueError(f"expected a path that can run this network, but got none: {left_out}")
    return Contenders(calls, sliced, left_out, layouts)


def _path_of_auto(sliced: dict[str, nn.Module]) -> str:
    """The path that ``accelerate`` takes by itself, if it is among those timed."""
    return "native" if "native" in sliced else next(iter(sliced))


def _median(seconds: dict[str, list[float]], name: str) -> float | None:
    return median_ms(seconds[name]) if name in seconds else None


def _ratios(seconds: dict[str, list[float]], name: str, macs: float) -> Result:
    """Time of a contender, and its ratios to the dense ones."""
    result: Result = {"sliced_ms": median_ms(seconds[name])}
    for kind in ("eager", "compiled"):
        dense = seconds.get(f"dense_{kind}")
        ratio = None if dense is None else median_ratio(seconds[name], dense)
        result[f"time_ratio_{kind}"] = ratio
        result[f"efficiency_{kind}"] = None if ratio is None else ratio / macs
    return result


def _per_stage(
    gated: nn.Module, batches: Sequence[Batch], settings: Settings, path: str
) -> list[Result]:
    """Times of the stem with the first stage, and of each further stage.

    A stage's time is what a backbone that ends after it takes longer than one that ends before.
    """
    prefix, backbone = next(
        (name, module) for name, module in gated.named_modules() if isinstance(module, BACKBONES)
    )
    rows: list[Result] = []
    before = dict.fromkeys(("dense_eager", "masked", path), 0.0)
    macs_before = (0.0, 0.0)
    for i, stage in enumerate(backbone.stage_names):
        part = truncated(backbone, i + 1)
        own = [_for_part(batch, part, prefix) for batch in batches]
        contenders = _contenders(
            part, own, Settings(settings.repeats, (path,), False, device=settings.device)
        )
        seconds = interleaved_seconds(
            contenders.calls, repeats=settings.repeats, settle=True, device=settings.device
        )
        now = {name: median_ms(seconds[name]) for name in before}
        macs_now = total_macs(contenders.sliced[path], plain_twin(part), own)
        row: Result = {"stage": f"stem and {stage}" if i == 0 else stage}
        row |= {f"{name}_ms": now[name] - before[name] for name in before}
        row["macs_ratio"] = (macs_now[0] - macs_before[0]) / (macs_now[1] - macs_before[1])
        rows.append(row)
        before, macs_before = now, macs_now
    return rows


def _for_part(batch: Batch, part: nn.Module, prefix: str) -> Batch:
    """The batch with logits of the gates of a part only, by their names in it."""
    if batch.logits is None:
        return batch
    names = {name: f"{prefix}.{name}" if prefix else name for name in named_gates(part)}
    return Batch(batch.images, {name: batch.logits[full] for name, full in names.items()})
