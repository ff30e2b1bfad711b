"""Figures of the results, in the words of the texts that cite them."""

import json

import numpy as np
from helpers import ROOT

RESULTS = ROOT / "results"
PLAIN, SCRATCH, TARGET = "cifar10-from-plain", "cifar10-10k-20e", "cifar10-target-macs"
CALIBRATION = "cifar10-calibration"


def values(folder, point, key="accuracy"):
    """One figure of all seeds of a setting: percent, but MACs in millions."""
    paths = sorted((RESULTS / folder).glob(f"{point}_seed[0-9]*.json"))
    assert paths, point
    factor = {"macs/average": 1e-6, "mIoU": 1}.get(key, 100)
    return [factor * json.loads(path.read_text(encoding="utf-8"))[key] for path in paths]


def mean(point, key="accuracy", *, folder=PLAIN):
    return float(np.mean(values(folder, point, key)))


def percent(point, folder=PLAIN):
    return f"{mean(point, folder=folder):.1f} %"


def millions(point, folder=PLAIN):
    return f"{mean(point, 'macs/average', folder=folder):.1f} M"


def fraction(point, folder=PLAIN):
    """Average MACs in whole percent of the dense ones."""
    return f"{mean(point, 'macs/fraction', folder=folder):.0f}"


def gates(point, kind, folder=PLAIN):
    """Share of gates in whole percent; kind: conditional, always_on or always_off."""
    return f"{mean(point, f'gates/{kind}', folder=folder):.0f}"


def extremes(points, kind, folder=PLAIN):
    """From the least to the largest share of gates among settings."""
    shares = [mean(point, f"gates/{kind}", folder=folder) for point in points]
    return f"{min(shares):.0f} to {max(shares):.0f} %"


def spread(point):
    accuracies = values(PLAIN, point)
    return f"{percent(point)} ({min(accuracies):.1f} to {max(accuracies):.1f})"


def on_the_line(line, macs, key="macs/fraction"):
    """Accuracy on the line through settings, at MACs of the same unit as the figure ``key``."""
    points = sorted((mean(point, key), mean(point)) for point in line)
    return float(np.interp(macs, *zip(*points, strict=True)))


def text_of(name):
    """A text of the project on one line."""
    return (ROOT / name).read_text(encoding="utf-8").replace("\n", " ")
