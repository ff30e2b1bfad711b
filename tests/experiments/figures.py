"""Figures of the results, computed from their JSON files, and the numbers in a text."""

import json
import re
from collections import Counter

import numpy as np
from helpers import ROOT

RESULTS = ROOT / "results"
PLAIN, SCRATCH, TARGET = "cifar10-from-plain", "cifar10-10k-20e", "cifar10-target-macs"
NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?(?!\w)")
CALIBRATION, CAMVID = "cifar10-calibration", "camvid-1500"


def values(folder, point, key="accuracy"):
    """One figure of all seeds of a setting: percent, but MACs in millions."""
    paths = sorted((RESULTS / folder).glob(f"{point}_seed[0-9]*.json"))
    assert paths, point
    factor = {"macs/average": 1e-6, "mIoU": 1}.get(key, 100)
    return [factor * json.loads(path.read_text(encoding="utf-8"))[key] for path in paths]


def mean(point, key="accuracy", *, folder=PLAIN):
    return float(np.mean(values(folder, point, key)))


def percent(point, folder=PLAIN):
    """Accuracy in percent."""
    return f"{mean(point, folder=folder):.1f}"


def millions(point, folder=PLAIN):
    """Average MACs."""
    return f"{mean(point, 'macs/average', folder=folder):.1f}"


def fraction(point, folder=PLAIN):
    """Average MACs in whole percent of the dense ones."""
    return f"{mean(point, 'macs/fraction', folder=folder):.0f}"


def gates(point, kind, folder=PLAIN):
    """Share of gates in whole percent; kind: conditional, always_on or always_off."""
    return f"{mean(point, f'gates/{kind}', folder=folder):.0f}"


def extremes(points, kind, folder=PLAIN):
    """The least and the largest share of gates among settings, in whole percent."""
    shares = [mean(point, f"gates/{kind}", folder=folder) for point in points]
    return [f"{min(shares):.0f}", f"{max(shares):.0f}"]


def spread(point):
    """Accuracy of a setting: of all seeds, of the worst and of the best."""
    accuracies = values(PLAIN, point)
    return [percent(point), f"{min(accuracies):.1f}", f"{max(accuracies):.1f}"]


def on_the_line(line, macs, key="macs/fraction"):
    """Accuracy on the line through settings, at MACs of the same unit as the figure ``key``."""
    points = sorted((mean(point, key), mean(point)) for point in line)
    return float(np.interp(macs, *zip(*points, strict=True)))


def tenths(*figures):
    """Figures as texts print them: with one decimal."""
    return [f"{figure:.1f}" for figure in figures]


def numbers(text):
    return Counter(NUMBER.findall(text))


def section(name, title):
    """Text below a heading, without generated tables, commands and code."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.search(
        rf"^#+ {re.escape(title)}.*?\n(.*?)(?=^#+ |\Z)", text, re.DOTALL | re.MULTILINE
    )
    assert found, f"expected a heading {title!r} in {name}, but got none"
    return re.sub(
        r"<!-- results.*?<!-- end -->|^    .*?$|`[^`]*`",
        "",
        found[1],
        flags=re.DOTALL | re.MULTILINE,
    )


def row(name, start):
    """The row of a table in a text that starts with these words."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line.startswith(f"| {start}")]
    assert len(found) == 1, f"expected one row {start!r} in {name}, but got {len(found)}"
    return found[0]
