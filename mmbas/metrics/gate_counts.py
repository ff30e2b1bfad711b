"""Counts of what gates do over a data set, kept while it streams by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.dist import all_gather, all_reduce
from torch import Tensor

NUM_BINS = 20
NUM_EXAMPLES = 6
NO_IMAGE = torch.iinfo(torch.int64).max


class GateCounts:
    """Exact sums over images, in memory that does not grow with their number.

    Args:
        num_gates: Number of gates, G.
        num_classes: Number of classes, C; 0 counts nothing per class.

    Attributes:
        num_images: Images counted.
        num_open: Images each gate was open for, shape (G,).
        num_probs: Images whose gate probs were given.
        prob_sums: Sum of the gate probs over those images, shape (G,), float64.
        histogram: Their distribution in bins of width 1 / 20, shape (G, 20); the first bin is
            [0, 0.05), the last one [0.95, 1].
        class_images: Images of each class, shape (C,).
        class_open: Images of each class that each gate was open for, shape (C, G).
        examples: The first positions at which each gate was open, ascending, shape (G, 6);
            ``NO_IMAGE`` where it was open less often.
    """

    def __init__(self, num_gates: int, num_classes: int = 0) -> None:
        self.num_images = 0
        self.num_probs = 0
        self.num_open = torch.zeros(num_gates, dtype=torch.int64, device="cpu")
        self.prob_sums = torch.zeros(num_gates, dtype=torch.float64, device="cpu")
        self.histogram = torch.zeros(num_gates, NUM_BINS, dtype=torch.int64, device="cpu")
        self.class_images = torch.zeros(num_classes, dtype=torch.int64, device="cpu")
        self.class_open = torch.zeros(num_classes, num_gates, dtype=torch.int64, device="cpu")
        self.examples = torch.full(
            (num_gates, NUM_EXAMPLES), NO_IMAGE, dtype=torch.int64, device="cpu"
        )

    def add_gates(self, gates: Tensor) -> None:
        """Count the gates of a batch, shape (N, G), bool."""
        self.num_images += len(gates)
        self.num_open += gates.sum(dim=0)

    def add_probs(self, probs: Tensor) -> None:
        """Count the gate probs of a batch, shape (N, G), 0 to 1."""
        num_gates = probs.shape[1]
        bins = (probs * NUM_BINS).int().clamp_(max=NUM_BINS - 1)
        bins += torch.arange(num_gates, dtype=torch.int32, device=probs.device) * NUM_BINS
        counts = torch.bincount(bins.flatten(), minlength=num_gates * NUM_BINS)
        self.histogram += counts.view(num_gates, NUM_BINS).cpu()
        self.prob_sums += probs.sum(dim=0, dtype=torch.float64).cpu()
        self.num_probs += len(probs)

    def add_classes(self, gates: Tensor, classes: Sequence[Sequence[int]]) -> None:
        """Count open gates for the classes of each image.

        Args:
            gates: Shape (N, G), bool.
            classes: Different classes that are in each image.
        """
        pairs = [(image, label) for image, labels in enumerate(classes) for label in labels]
        if not pairs:
            return
        images, labels = torch.tensor(pairs, device="cpu").T
        self.class_images += torch.bincount(labels, minlength=len(self.class_images))
        self.class_open.index_add_(0, labels, gates[images].long())

    def add_examples(self, gates: Tensor, positions: Tensor) -> None:
        """Remember where gates were open that have not been seen open often.

        Args:
            gates: Shape (N, G), bool.
            positions: Positions of the images in the data set, ascending, larger than any before.
        """
        known = (self.examples < NO_IMAGE).sum(dim=1)
        wanting = (known < NUM_EXAMPLES).nonzero().flatten()
        if not len(wanting):
            return
        opened = gates[:, wanting]
        slots = known[wanting] + opened.long().cumsum(dim=0) - 1
        images, columns = (opened & (slots < NUM_EXAMPLES)).nonzero(as_tuple=True)
        self.examples[wanting[columns], slots[images, columns]] = positions[images]

    def reduce(self) -> None:
        """Make the counts of every process those of all of them together."""
        totals = torch.tensor([self.num_images, self.num_probs], device="cpu")
        for counts in (
            *(totals, self.num_open, self.prob_sums, self.histogram),
            *(self.class_images, self.class_open),
        ):
            if counts.numel():
                all_reduce(counts)
        self.num_images, self.num_probs = totals.tolist()
        examples = torch.cat(all_gather(self.examples), dim=1)
        self.examples = examples.sort(dim=1).values[:, :NUM_EXAMPLES]
