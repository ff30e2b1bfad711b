"""Short trainings of torch models on images in memory, for comparisons that take minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.datasets.digits import load_digit_arrays, split_indices, upscale
from mmbas.losses import ShapingLoss


@dataclass(frozen=True)
class LabelledImages:
    """Images and their classes.

    Attributes:
        images: Shape (N, C, H, W), of mean 0 and standard deviation 1 in the training images.
        labels: Shape (N,), int64.
    """

    images: Tensor
    labels: Tensor


Split = tuple[LabelledImages, LabelledImages]  # training and test


@dataclass(frozen=True)
class Schedule:
    """Length and speed of a training: SGD with momentum, a cosine, random shifts.

    Attributes:
        epochs: Passes over the training images.
        learning_rate: At the start; it falls to 0.
        batch_size: Images of a step; what is left at the end of an epoch is dropped.
        shift: Most pixels that an image is shifted by.
        warmup: Share of the steps in which the learning rate rises.
    """

    epochs: int
    learning_rate: float = 0.1
    batch_size: int = 64
    shift: int = 1
    warmup: float = 0.1


def digits(image_size: int) -> Split:
    """Training and test images of scikit-learn's digits, of three equal channels."""
    arrays, labels = load_digit_arrays()
    images = torch.from_numpy(upscale(arrays, image_size)).permute(0, 3, 1, 2).float()
    train, test = (split_indices(labels, split) for split in ("train", "test"))
    mean, std = images[train].mean(), images[train].std()
    parts = [
        LabelledImages((images[kept] - mean) / std, torch.from_numpy(labels[kept]).long())
        for kept in (train, test)
    ]
    return parts[0], parts[1]


def train_classifier(
    model: nn.Module,
    data: LabelledImages,
    schedule: Schedule,
    *,
    shaping: Mapping[str, ShapingLoss],
    seed: int,
) -> float:
    """Train with the cross entropy and shaping losses that are bound to the model.

    Returns:
        The mean total of the last epoch; NaN or infinite if the training diverged, which then ends.
    """
    steps = schedule.epochs * (len(data.images) // schedule.batch_size)
    optimizer, scheduler = optimization(model, shaping, schedule, steps)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    mean = float("nan")
    for _ in range(schedule.epochs):
        totals = []
        for images, labels in epoch(data, schedule, generator):

            def task(images: Tensor = images, labels: Tensor = labels) -> Tensor:
                return F.cross_entropy(model(images), labels)

            total = shaped_total(model, shaping, task)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            scheduler.step()
            totals.append(total.item())
        mean = float(np.mean(totals))
        if not np.isfinite(mean):
            break
    return mean


def shaped_total(
    model: nn.Module, shaping: Mapping[str, ShapingLoss], task: Callable[[], Tensor]
) -> Tensor:
    """The loss that ``task`` computes with the model, and the shaping losses of its features."""
    if not shaping:
        return task()
    (name, loss), *others = shaping.items()
    with loss.recording(model) as features:
        total = shaped_total(model, dict(others), task)
    return total + torch.stack(list(loss.terms_of(features, name).values())).sum()


@torch.no_grad()
def accuracy(model: Callable[[Tensor], Tensor], data: LabelledImages) -> float:
    """Share of images whose highest score is that of their class."""
    scores = torch.cat([model(images) for images in data.images.split(128)])
    return (scores.argmax(dim=1) == data.labels).double().mean().item()


def optimization(
    model: nn.Module, shaping: Mapping[str, ShapingLoss], schedule: Schedule, steps: int
) -> tuple[torch.optim.Optimizer, Any]:
    """SGD and its learning rate, which rises, then falls in a cosine."""
    parameters = [*model.parameters(), *(p for loss in shaping.values() for p in loss.parameters())]
    optimizer = torch.optim.SGD(
        parameters, schedule.learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        schedule.learning_rate,
        total_steps=steps,
        pct_start=schedule.warmup,
        cycle_momentum=False,
    )
    return optimizer, scheduler


def epoch(
    data: LabelledImages, schedule: Schedule, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of shifted images in random order."""
    order = torch.randperm(len(data.images), generator=generator)
    for chosen in order.split(schedule.batch_size):
        if len(chosen) == schedule.batch_size:
            yield _shifted(data.images[chosen], schedule.shift, generator), data.labels[chosen]


def _shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """All images of a batch shifted by the same few pixels; the border is repeated."""
    if most == 0:
        return images
    padded = F.pad(images, (most,) * 4, mode="replicate")
    down, right = torch.randint(2 * most + 1, (2,), generator=generator).tolist()
    height, width = images.shape[2:]
    return padded[:, :, down : down + height, right : right + width]
