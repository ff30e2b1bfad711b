"""Running a model over chosen images: which gates open for them, and the host's metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from torch import Tensor

from mmbas.gates import named_gates
from mmbas.metrics.conditional_macs import sample_field

Batch = dict[str, Any]


def select_images(
    batches: Iterable[Batch],
    *,
    classes: Collection[int] | None = None,
    num_images: int | None = None,
) -> Iterator[Batch]:
    """Batches with only some of their images.

    Args:
        batches: Batches as a data loader of the hosts gives them: ``inputs`` and ``data_samples``.
        classes: Images with any of these labels; for segmentation and detection images that
            contain any of these classes. None selects all.
        num_images: At most so many, the first ones.
    """
    left = num_images
    for batch in batches:
        samples = batch["data_samples"]
        kept = [
            i
            for i, sample in enumerate(samples)
            if classes is None or not classes_of(sample).isdisjoint(classes)
        ][:left]
        if left is not None:
            left -= len(kept)
        if kept:
            inputs = batch["inputs"]
            yield {
                "inputs": inputs[kept] if isinstance(inputs, Tensor) else [inputs[i] for i in kept],
                "data_samples": [samples[i] for i in kept],
            }
        if left == 0:
            return


@dataclass(frozen=True)
class ChosenImages:
    """:func:`select_images` as often as it is iterated over; holds one batch at a time.

    Attributes:
        batches: A data loader, or other batches that can be iterated over repeatedly.
        num_images: At most so many, the first ones; None selects all.
    """

    batches: Iterable[Batch]
    num_images: int | None = None

    def __iter__(self) -> Iterator[Batch]:
        return select_images(self.batches, num_images=self.num_images)


def classes_of(sample: Any) -> set[int]:
    """The label of an image, or the classes of its label map or of its boxes."""
    if "gt_sem_seg" in sample:
        labels = sample.gt_sem_seg.data
    elif "gt_instances" in sample:
        labels = sample.gt_instances.labels
    else:
        labels = sample_field(sample.to_dict(), "gt_label")
    return set(labels.unique().tolist())


@torch.no_grad()
def measure_open_rates(model: Any, batches: Iterable[Batch]) -> tuple[dict[str, Tensor], int]:
    """Measure the open rate of each gate.

    Args:
        model: Model in evaluation mode; leaves ``gates`` on its data samples, as models with
            :class:`mmbas.models.GateLossMixin` do. A gate that is open in any of several forward
            passes for an image is open.
        batches: Batches for ``model.test_step``.

    Returns:
        For each gate's name the fraction of images that its gates are open for, shape (G,),
        float64; and the number of images.

    Raises:
        ValueError: If there are no images.
    """
    num_gates = {name: gate.num_gates for name, gate in named_gates(model).items()}
    num_open = torch.zeros(sum(num_gates.values()), dtype=torch.float64, device="cpu")
    num_images = 0
    for batch in batches:
        for sample in model.test_step(batch):
            num_open += sample_field(sample.to_dict(), "gates")
            num_images += 1
    if num_images == 0:
        raise ValueError("expected images to measure the gates on, but none was selected")
    rates = (num_open / num_images).split(list(num_gates.values()))
    return dict(zip(num_gates, rates, strict=True)), num_images


@torch.no_grad()
def evaluate(model: Any, batches: Iterable[Batch], evaluator: Evaluator) -> dict[str, Any]:
    """The evaluator's metrics of a model on some images.

    Raises:
        ValueError: If there are no images.
    """
    num_images = 0
    for batch in batches:
        samples = model.test_step(batch)
        evaluator.process(data_samples=samples, data_batch=batch)
        num_images += len(samples)
    if num_images == 0:
        raise ValueError("expected images to test with, but none was selected")
    metrics: dict[str, Any] = evaluator.evaluate(num_images)
    return {**metrics, "num_images": num_images}
