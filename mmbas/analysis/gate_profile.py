"""Profile of a model's gates on a data set, from which every figure is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmbas.blocks import GatedResidualBlock
from mmbas.gates import record_gate_outputs
from mmbas.metrics.gate_counts import NO_IMAGE, GateCounts
from mmbas.metrics.gate_statistics import GateStatistics, ImageRecord


@dataclass(frozen=True)
class GateProfile:
    """Statistics of the gates of one model, G in all, over N images of C classes.

    Attributes:
        name: Name of the model.
        layers: Number of gates of each layer by its name, in the order of the network.
        classes: Names of the classes.
        counts: Sums over the images.
        images: The images in the order of the data set.
        metrics: Values of the host's own metrics, by name.
        switches: Word for what the gates switch, in the plural: ``'channels'``, ``'blocks'``.
    """

    name: str
    layers: dict[str, int]
    classes: tuple[str, ...]
    counts: GateCounts
    images: Sequence[ImageRecord] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    switches: str = "channels"

    @property
    def executed(self) -> str:
        """Word for what is executed where gates are open, in the plural."""
        return "filters" if self.switches == "channels" else self.switches

    @property
    def open_rates(self) -> NDArray[np.float64]:
        """Share of the images that each gate is open for, shape (G,), 0 to 1."""
        return self.counts.num_open.numpy() / self.counts.num_images

    @property
    def mean_probs(self) -> NDArray[np.float64]:
        """Mean gate prob, shape (G,), 0 to 1."""
        return self.counts.prob_sums.numpy() / max(self.counts.num_probs, 1)

    @property
    def prob_shares(self) -> NDArray[np.float64]:
        """Share of the images whose gate prob falls into each bin, shape (G, 20)."""
        return self.counts.histogram.numpy() / max(self.counts.num_probs, 1)

    @property
    def class_rates(self) -> NDArray[np.float64]:
        """Share of the images of each class that each gate is open for, shape (C, G).

        NaN for classes without images.
        """
        images = self.counts.class_images.numpy().astype(float)
        images[images == 0] = np.nan
        return self.counts.class_open.numpy() / images[:, None]

    @property
    def slices(self) -> dict[str, slice]:
        """Range of each layer's gates among all gates."""
        ends = np.cumsum(list(self.layers.values())).tolist()
        return {
            layer: slice(end - size, end)
            for (layer, size), end in zip(self.layers.items(), ends, strict=True)
        }

    @property
    def macs_fractions(self) -> NDArray[np.float64]:
        """Conditional MACs of each image as a fraction of its dense MACs, shape (N,)."""
        return np.array([image.macs / image.dense_macs for image in self.images])

    def layer_of(self, gate: int) -> tuple[str, int]:
        """The layer of a gate and its number in there."""
        for layer, gates in self.slices.items():
            if gates.start <= gate < gates.stop:
                return layer, gate - gates.start
        raise ValueError(f"expected a gate from 0 to {len(self.open_rates) - 1}, but got {gate}")

    def examples(self, gate: int) -> list[int]:
        """The first images of the data set that a gate is open for, at most 6 positions."""
        positions = self.counts.examples[gate]
        return positions[positions < NO_IMAGE].tolist()


def layer_name(gate_name: str) -> str:
    """A layer's short name: ``backbone.layer1.0.gate`` is ``layer1.0``."""
    return gate_name.removeprefix("backbone.").removesuffix(".gate")


@torch.no_grad()
def profile_gates(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    name: str,
    classes: Sequence[str],
    evaluator: Any = None,
) -> GateProfile:
    """Run a model over a data set and collect what its gates do.

    Args:
        model: Model in evaluation mode, with :class:`mmbas.models.GateLossMixin`.
        batches: Batches for its ``test_step``, in the order of the data set.
        name: Name of the model in figures and tables.
        classes: Names of the classes of the data set.
        evaluator: MMEngine's ``Evaluator`` with the host's metrics, to run along.

    Raises:
        ValueError: If the model has no gates, or there is no batch.
    """
    statistics = GateStatistics(detailed=True)
    statistics.dataset_meta = {"classes": tuple(classes)}
    num_images = 0
    layers: dict[str, int] = {}
    for data in batches:
        samples, layers = _predict(model, data)
        num_images += len(samples)
        statistics.process(data, [sample.to_dict() for sample in samples])
        if evaluator is not None:
            evaluator.process(data_samples=samples, data_batch=data)
    if not layers:
        raise ValueError(
            f"expected images and a model with gates, but got {num_images} images and no gates; "
            "a plain network has nothing to analyse"
        )
    statistics.evaluate(num_images)
    assert statistics.counts is not None
    metrics = {} if evaluator is None else evaluator.evaluate(num_images)
    return GateProfile(
        name,
        layers,
        tuple(classes),
        statistics.counts,
        images=statistics.images,
        metrics=metrics,
        switches=_what_gates_switch(model),
    )


def _what_gates_switch(model: nn.Module) -> str:
    blocks = [
        module
        for module in model.modules()
        if isinstance(module, GatedResidualBlock) and module.gate is not None
    ]
    return " or ".join(sorted({block.seats.switches for block in blocks})) or "channels"


def _predict(model: Any, data: Any) -> tuple[Sequence[Any], dict[str, int]]:
    """Data samples with their gate probs, and the number of gates of each layer."""
    with record_gate_outputs(model) as records:
        samples: Sequence[Any] = model.test_step(data)
    # Several calls for one image (sliding windows): open in any call is a largest prob > 0.5.
    probs = {
        layer_name(gate): torch.stack([output.probs for output in outputs]).amax(dim=0)
        for gate, outputs in records.items()
        if outputs
    }
    if probs:
        together = torch.cat(list(probs.values()), dim=1).cpu()
        for sample, gate_probs in zip(samples, together, strict=True):
            sample.gate_probs = gate_probs
    return samples, {layer: value.shape[1] for layer, value in probs.items()}
