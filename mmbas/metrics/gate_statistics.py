"""Shares of gates that are always on, conditional or always off (section 5.4 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray
from torch import Tensor

from mmbas.metrics.conditional_macs import sample_field
from mmbas.metrics.gate_counts import GateCounts
from mmbas.metrics.image_outcome import UNKNOWN, ImageOutcome, image_outcomes
from mmbas.registry import METRICS

ALWAYS_ON_RATE = 0.99
ALWAYS_OFF_RATE = 0.01


def gate_shares(open_rates: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Shares of the gates that are always on, conditional and always off; they sum to 1.

    Args:
        open_rates: Fraction of images that each gate is open for, shape (G,), G >= 1.
    """
    always_on = float(np.mean(open_rates > ALWAYS_ON_RATE))
    always_off = float(np.mean(open_rates < ALWAYS_OFF_RATE))
    conditional = float(np.mean((open_rates <= ALWAYS_ON_RATE) & (open_rates >= ALWAYS_OFF_RATE)))
    return {"always_on": always_on, "conditional": conditional, "always_off": always_off}


@dataclass(frozen=True)
class ImageRecord:
    """One image of the table that :class:`GateStatistics` keeps.

    Attributes:
        macs: Conditional MACs.
        dense_macs: MACs with all gates open.
        open_fraction: Mean of its gates.
        outcome: Classes, correctness and loss.
    """

    macs: float
    dense_macs: float
    open_fraction: float
    outcome: ImageOutcome


@METRICS.register_module()
class GateStatistics(BaseMetric):
    """Shares of the gates by how often they are open over a data set.

    Reads ``gates``, which a model with :class:`mmbas.models.GateLossMixin` leaves on each data
    sample. Empty for a plain network. The counts are sums over all images of all processes; an
    image that a sampler repeats to fill up the last batch counts once.

    Args:
        detailed: Also count gate probs (where data samples have ``gate_probs``, shape (G,)) and
            classes, and keep a table of the images with MACs, correctness and loss.

    Attributes:
        counts: After ``evaluate`` the counts of all processes, the same on each.
        images: After ``evaluate`` of a detailed metric one record per image in the order of the
            data set, on the first process; empty on the others.

    Metrics:
        gates/always_on: Share of gates open for more than 99 % of the images, 0 to 1.
        gates/conditional: Share of the rest, 0 to 1.
        gates/always_off: Share of gates open for less than 1 % of the images, 0 to 1.
    """

    default_prefix = "gates"

    def __init__(self, *, detailed: bool = False) -> None:
        super().__init__()
        self.detailed = detailed
        self.counts: GateCounts | None = None
        self.images: list[ImageRecord] = []
        self._sums: GateCounts | None = None
        self._held_back: list[_GatesOfImage] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Count the gates of a batch.

        The last image waits for the next batch: at the end of the data it may be a repetition.
        """
        outcomes = [UNKNOWN] * len(data_samples)
        if self.detailed:
            outcomes = image_outcomes(data_samples)
            self.results += [
                _record(sample, outcome)
                for sample, outcome in zip(data_samples, outcomes, strict=True)
            ]
        else:
            # The base class collects one entry per image.
            self.results += [None] * len(data_samples)
        batch = [*self._held_back, *map(_gates_of, data_samples, outcomes)]
        self._held_back = batch[-1:]
        self._count(batch[:-1])

    def evaluate(self, size: int) -> dict[str, float]:
        """Sum over the processes and compute the metrics; see ``BaseMetric.evaluate``."""
        if self._held_back:
            sums = self._sums_for(self._held_back)
            is_repetition = self._position(sums.num_images) >= size
            self._count([] if is_repetition else self._held_back)
        if self._sums is not None:
            self._sums.reduce()
        self.counts, self._sums, self._held_back = self._sums, None, []
        self.images = []
        metrics: dict[str, float] = super().evaluate(size)
        return metrics

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Shares over the images of all processes."""
        if self.detailed:
            self.images = results
        if self.counts is None or not len(self.counts.num_open):
            return {}
        return gate_shares(self.counts.num_open.numpy() / self.counts.num_images)

    def _position(self, local: int) -> int:
        """Position in the data set of an image that this process saw: samplers deal them out."""
        return local * get_world_size() + get_rank()

    def _sums_for(self, batch: Sequence[_GatesOfImage]) -> GateCounts:
        if self._sums is None:
            classes = (self.dataset_meta or {}).get("classes") or ()
            num_classes = len(classes) if self.detailed else 0
            self._sums = GateCounts(len(batch[0].gates), num_classes)
        return self._sums

    def _count(self, batch: Sequence[_GatesOfImage]) -> None:
        if not batch:
            return
        sums = self._sums_for(batch)
        gates = torch.stack([image.gates for image in batch]).bool().cpu()
        first = sums.num_images
        sums.add_gates(gates)
        if not self.detailed:
            return
        probs = [image.probs for image in batch if image.probs is not None]
        if probs:
            sums.add_probs(torch.stack(probs))
        if len(sums.class_images):
            sums.add_classes(gates, [image.classes for image in batch])
        positions = [self._position(first + i) for i in range(len(batch))]
        sums.add_examples(gates, torch.tensor(positions, device="cpu"))


class _GatesOfImage(NamedTuple):
    """Counted values of one image: gates and, if given, gate probs, shape (G,)."""

    gates: Tensor
    probs: Tensor | None
    classes: tuple[int, ...]


def _gates_of(sample: dict[str, Any], outcome: ImageOutcome) -> _GatesOfImage:
    gates = torch.as_tensor(sample_field(sample, "gates"))
    return _GatesOfImage(gates, sample.get("gate_probs"), outcome.classes)


def _record(sample: dict[str, Any], outcome: ImageOutcome) -> ImageRecord:
    macs, dense_macs, open_fraction = (
        float(sample_field(sample, key)) for key in ("macs", "dense_macs", "open_fraction")
    )
    return ImageRecord(macs, dense_macs, open_fraction, outcome)
