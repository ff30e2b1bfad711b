"""Outcome of each image: its classes, if the prediction is right, and the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class ImageOutcome(NamedTuple):
    """Outcome of one image.

    Attributes:
        classes: The different classes that are in it, ascending; empty without ground truth.
        correct: 1 if a classifier's predicted class is among the true ones, else 0; for a
            segmentor the share of labelled pixels that are right. NaN without ground truth, and
            for a detector.
        loss: Cross entropy in nats, for a segmentor the mean over the labelled pixels; with
            several true classes the one of the most probable. NaN as above.
    """

    classes: tuple[int, ...]
    correct: float
    loss: float


UNKNOWN = ImageOutcome((), math.nan, math.nan)


def image_outcomes(samples: Sequence[dict[str, Any]]) -> list[ImageOutcome]:
    """Outcomes of a batch.

    Args:
        samples: Data samples as the hosts hand them to metrics: of MMPretrain's classifiers with
            ``pred_score`` and ``gt_label``, of MMSegmentation's models with ``seg_logits``,
            ``pred_sem_seg`` and ``gt_sem_seg``, of MMDetection's with ``gt_instances``. Anything
            else is unknown.
    """
    if all("pred_score" in sample and "gt_label" in sample for sample in samples):
        return _classification(samples)
    return [_of_parts(sample) for sample in samples]


def _classification(samples: Sequence[dict[str, Any]]) -> list[ImageOutcome]:
    # One transfer from the device for the whole batch instead of several per image.
    scores = torch.stack([sample["pred_score"] for sample in samples]).float().cpu()
    predicted = scores.argmax(dim=1).tolist()
    losses = -scores.clamp(min=torch.finfo(torch.float32).tiny).log()
    outcomes = []
    for image, sample in enumerate(samples):
        labels = torch.as_tensor(sample["gt_label"]).flatten().tolist()
        if not labels:
            outcomes.append(UNKNOWN)
            continue
        loss = min(float(losses[image, label]) for label in labels)
        correct = float(predicted[image] in labels)
        outcomes.append(ImageOutcome(tuple(sorted(set(labels))), correct, loss))
    return outcomes


def _of_parts(sample: dict[str, Any]) -> ImageOutcome:
    """Outcome of an image whose boxes or pixels have classes."""
    if "gt_instances" in sample:
        labels = torch.as_tensor(sample["gt_instances"]["labels"])
        return ImageOutcome(tuple(labels.unique().tolist()), math.nan, math.nan)
    if "gt_sem_seg" not in sample or "seg_logits" not in sample:
        return UNKNOWN
    logits: Tensor = sample["seg_logits"]["data"]
    labels = sample["gt_sem_seg"]["data"].flatten().to(logits.device).long()
    predicted = sample["pred_sem_seg"]["data"].flatten().to(labels)
    num_classes = max(len(logits), 2)  # a single logit tells two classes apart
    labelled = (labels >= 0) & (labels < num_classes)
    if not labelled.any():
        return UNKNOWN
    labels = labels[labelled]
    classes = torch.bincount(labels, minlength=num_classes).nonzero().flatten().tolist()
    correct = float((predicted[labelled] == labels).double().mean())
    values = logits.flatten(1)[:, labelled].float()
    if len(logits) == 1:  # MMSegmentation leaves the sigmoid of a single logit
        loss = F.binary_cross_entropy(values[0], labels.float())
    else:
        loss = F.cross_entropy(values.T, labels)
    return ImageOutcome(tuple(classes), correct, float(loss))
