"""Rarely open gates, the classes that trigger them, and example images (figure 7 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.figure
import numpy as np

from mmbas.analysis.gate_profile import GateProfile
from mmbas.analysis.plot_style import BLUE, new_figure, to_rgb
from mmbas.metrics.gate_counts import NUM_EXAMPLES
from mmbas.metrics.gate_statistics import ALWAYS_OFF_RATE

MOST_OPEN_RATE = 0.25
FEWEST_IMAGES = 3
_MOST_CLASSES = 5


@dataclass(frozen=True)
class TriggeringClass:
    """Open rate of a gate for one class.

    Attributes:
        name: Name of the class.
        open_rate: Share of the images of the class that the gate is open for, 0 to 1.
        num_open: Their number.
        num_images: Images of the class.
    """

    name: str
    open_rate: float
    num_open: int
    num_images: int


@dataclass(frozen=True)
class RareGate:
    """A gate that is open for few images.

    Attributes:
        layer: Its layer.
        gate: Its number in there.
        open_rate: Share of all images that it is open for, 0 to 1.
        num_open: Their number.
        classes: The classes of those images, the one with the highest open rate first.
        examples: Positions of the first of those images in the data set.
    """

    layer: str
    gate: int
    open_rate: float
    num_open: int
    classes: list[TriggeringClass]
    examples: list[int]


def rare_gates(profile: GateProfile, *, most: int = 5) -> list[RareGate]:
    """Find the most rarely open gate of each layer; return the rarest of them in network order.

    Considered are gates that are not always off (open for at least 1 % and 3 of the images), and
    open for at most 25 %.

    Args:
        profile: Profile of the model.
        most: Largest number of gates.
    """
    num_open, rates = profile.counts.num_open.numpy(), profile.open_rates
    rare = (rates >= ALWAYS_OFF_RATE) & (rates <= MOST_OPEN_RATE) & (num_open >= FEWEST_IMAGES)
    rarest = []
    for gates in profile.slices.values():
        candidates = np.flatnonzero(rare[gates]) + gates.start
        if len(candidates):
            rarest.append(int(candidates[np.argmin(rates[candidates])]))
    chosen = sorted(sorted(rarest, key=lambda gate: rates[gate])[:most])
    return [
        RareGate(
            *profile.layer_of(gate),
            float(rates[gate]),
            int(num_open[gate]),
            triggering_classes(profile, gate),
            profile.examples(gate),
        )
        for gate in chosen
    ]


def triggering_classes(profile: GateProfile, gate: int) -> list[TriggeringClass]:
    """The classes that a gate was ever open for, the one with the highest open rate first.

    Among classes of the same rate the one with fewer images comes first: it says more.
    """
    num_open = profile.counts.class_open[:, gate].tolist()
    num_images = profile.counts.class_images.tolist()
    classes = [
        TriggeringClass(name, opened / images, opened, images)
        for name, opened, images in zip(profile.classes, num_open, num_images, strict=True)
        if opened
    ]
    return sorted(classes, key=lambda entry: (-entry.open_rate, entry.num_images))


def rare_gates_figure(
    gates: Sequence[RareGate], dataset: Any, *, bgr: bool
) -> matplotlib.figure.Figure:
    """One row per gate: open rates of the classes, then images.

    Args:
        gates: Gates found by :func:`rare_gates`.
        dataset: ``dataset[i]["inputs"]`` is the image, uint8, shape (3, H, W).
        bgr: True if the first channel is blue, False if it is red.
    """
    pictures = [[to_rgb(dataset[i]["inputs"], bgr=bgr) for i in gate.examples] for gate in gates]
    height, width = pictures[0][0].shape[:2]
    cell = min(1.15 * width / height, 1.9)
    # Wide images: fewer of them, so that the page does not have to scroll far.
    columns = min(NUM_EXAMPLES, max(len(row) for row in pictures), max(int(6.9 / cell), 1))
    figure = new_figure(3.1 + cell * columns, 1.55 * len(gates) + 0.3)
    grid = figure.add_gridspec(len(gates), columns + 1, width_ratios=[3.1, *[cell] * columns])
    for row, gate in enumerate(gates):
        axis = figure.add_subplot(grid[row, 0])
        shown = gate.classes[:_MOST_CLASSES]
        axis.barh(range(len(shown)), [100 * c.open_rate for c in shown], color=BLUE, height=0.7)
        axis.set_yticks(range(len(shown)), [c.name for c in shown])
        axis.set(xlim=(0, 100), ylim=(_MOST_CLASSES - 0.4, -0.6), xticks=[0, 50, 100])
        axis.set_title(
            f"{gate.layer}, gate {gate.gate}: {gate.open_rate:.1%} of images", fontsize=9
        )
        if row == len(gates) - 1:
            axis.set_xlabel("open for images of the class (%)")
        for column, picture in enumerate(pictures[row][:columns]):
            axis = figure.add_subplot(grid[row, column + 1])
            axis.imshow(picture, interpolation="nearest")
            axis.set_axis_off()
    return figure
