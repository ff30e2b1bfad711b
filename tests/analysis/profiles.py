"""Profiles of gates that a test writes down."""

import torch

from mmbas.analysis import GateProfile
from mmbas.metrics.gate_counts import GateCounts
from mmbas.metrics.gate_statistics import ImageRecord
from mmbas.metrics.image_outcome import ImageOutcome


def profile_of(gates, *, layers, probs=None, labels=None, classes=(), images=None, name="net"):
    """The profile of gates that are written down.

    Args:
        gates: For each image its gates, 0 or 1.
        layers: Number of gates by layer.
        probs: For each image its gate probs; the gates themselves if None.
        labels: For each image its classes.
        classes: Names of the classes.
        images: For each image (MACs of 100, correct, loss).
        name: Of the model.
    """
    gates = torch.tensor(gates) > 0
    probs = gates.float() if probs is None else torch.tensor(probs)
    labels = labels or [()] * len(gates)
    counts = GateCounts(gates.shape[1], len(classes))
    counts.add_gates(gates)
    counts.add_probs(probs)
    if classes:
        counts.add_classes(gates, labels)
    counts.add_examples(gates, torch.arange(len(gates)))
    images = images or [(50.0, 1.0, 0.1)] * len(gates)
    records = [
        ImageRecord(macs, 100.0, 0.5, ImageOutcome(tuple(label), correct, loss))
        for (macs, correct, loss), label in zip(images, labels, strict=True)
    ]
    return GateProfile(name, layers, tuple(classes), counts, images=records)
