"""Time of each stage of a gated network by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mmbas.backbones.description import BACKBONES
from mmbas.gates import named_gates
from mmbas.measure.contenders import Batch, total_macs, truncated
from mmbas.measure.dense_run import ImageForms
from mmbas.measure.gated_ways import gated_ways, of_dtype
from mmbas.measure.plain_network import folded_plain, plain_twin
from mmbas.measure.timing import interleaved_seconds, median_ms
from mmbas.measure.torch_runs import eager_run


def stage_times(
    gated: nn.Module, batches: Sequence[Batch], path: str, dtype: torch.dtype
) -> list[dict[str, Any]]:
    """Times of the stem with the first stage, and of each further stage, in ms (medians).

    A stage's time is what a backbone that ends after it takes longer than one that ends before.

    Args:
        gated: Float32, in evaluation mode.
        batches: One for each counted call, where the network is.
        path: Execution path of the sliced network.
        dtype: Type in which everything is timed.
    """
    prefix, backbone = next(
        (name, module) for name, module in gated.named_modules() if isinstance(module, BACKBONES)
    )
    rows: list[dict[str, Any]] = []
    before = dict.fromkeys(("dense_eager", "masked", path), 0.0)
    macs_before = (0.0, 0.0)
    for i, stage in enumerate(backbone.stage_names):
        part = truncated(backbone, i + 1)
        own = [_for_part(batch, part, prefix) for batch in batches]
        plain = folded_plain(plain_twin(part), own[0].images)
        images = ImageForms([batch.images for batch in own])
        dense = eager_run(plain, images, str(dtype).removeprefix("torch."))
        rounded, own = of_dtype(part, own, dtype)
        ways = gated_ways(rounded, own, [path], images.device)
        seconds = interleaved_seconds(
            {"dense_eager": dense.call(), **ways.calls},
            repeats=len(batches),
            settle=True,
            device=images.device,
        )
        now = {name: median_ms(seconds[name]) for name in before}
        macs_now = total_macs(ways.sliced[path], plain.to(dtype), own)
        row: dict[str, Any] = {"stage": f"stem and {stage}" if i == 0 else stage}
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
