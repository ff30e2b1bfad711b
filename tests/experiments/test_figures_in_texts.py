"""Texts that cite results hold the figures of the JSON files; how they say it is free.

Each case names a part of a text and the figures that must stand there, as often as they are
listed. The tables are generated and tested in ``test_result_tables.py``.
"""

import json
from collections import Counter

import numpy as np
import pytest
from experiments.figures import (
    CALIBRATION,
    CAMVID,
    PLAIN,
    RESULTS,
    SCRATCH,
    TARGET,
    fraction,
    gates,
    mean,
    millions,
    numbers,
    on_the_line,
    percent,
    row,
    section,
    tenths,
    values,
)

DEFAULT, BOTH_MEAN = "bas-sum_l0-layer-mean_gamma", "bas-mean_l0-mean_gamma"
LAYER_MEAN, L0_SUM = "bas-layer-mean_l0-layer-mean_gamma", "bas-sum_l0-sum_gamma"
RECIPES = [f"resnet20_target{target}" for target in (0.4, 0.6, 0.8)]


def miou(point):
    return mean(point, "mIoU", folder=CAMVID)


def camvid():
    plain, best, total = miou("plain"), miou("bas0.2_layer-mean"), miou("bas0.2")
    whole = [plain - total, plain - best, plain - miou("bas0.05"), best - total]
    return [
        fraction("bas0.2_layer-mean", CAMVID),
        *tenths(plain - best),
        *(f"{difference:.0f}" for difference in whole),
    ]


def calibration():
    points = [f"{DEFAULT}{gamma}" for gamma in (0, 0.05, 0.2)]
    closing = [f"{BOTH_MEAN}0.05", f"{BOTH_MEAN}0.2"]
    others = [f"{LAYER_MEAN}0.2", *closing]
    return [
        *(fraction(point, CALIBRATION) for point in [*points, *others]),
        *(percent(point, CALIBRATION) for point in [*points, others[0]]),
        gates(f"{L0_SUM}0.01", "always_off", CALIBRATION),
        *(gates(point, "always_on", CALIBRATION) for point in closing),
        *tenths(np.ptp(values(CALIBRATION, "resnet20"))),
    ]


def target_macs():
    start, longer = mean("resnet20", folder=SCRATCH), mean("resnet20")
    shares = [mean(recipe, "macs/fraction", folder=TARGET) for recipe in RECIPES]
    found = [mean(recipe, folder=TARGET) for recipe in RECIPES]
    return [
        *tenths(*(abs(share - 20 * (2 + i)) for i, share in enumerate(shares))),
        *tenths(found[0] - start, found[2] - start, start, longer, longer - found[2]),
        *(f"{100 - shares[i]:.0f}" for i in (0, 2)),
        f"{longer - found[0]:.0f}",
    ]


def from_plain():
    """The most that seeds of one setting differ by, rounded up."""
    points = {path.name.split("_seed")[0] for path in (RESULTS / PLAIN).glob("*.json")}
    return [f"{np.ceil(max(np.ptp(values(PLAIN, point)) for point in points)):.0f}"]


def recipe_and_baseline():
    """What stands below the verdict: the recipe against L0 alone, and the plain loop."""
    shares = [mean(recipe, "macs/fraction", folder=TARGET) for recipe in RECIPES]
    line = [f"resnet20_l0_gamma{gamma}" for gamma in (0.2, 0.3, 0.5)]
    ours = values(CALIBRATION, "resnet20")
    loop = [
        100 * json.loads(path.read_text(encoding="utf-8"))["accuracy"]
        for path in sorted((RESULTS / "cifar10-plain-loop").glob("*.json"))
    ]
    return [
        *(percent(recipe, TARGET) for recipe in RECIPES),
        *(fraction(recipe, TARGET) for recipe in RECIPES),
        *tenths(*(on_the_line(line, share) for share in shares)),
        *tenths(*loop, np.mean(loop), *ours, np.mean(ours), np.mean(loop) - np.mean(ours)),
    ]


def readme_cifar10():
    points = ("resnet20", "resnet20_bas_gamma0.1")
    return [figure for point in points for figure in (percent(point), millions(point))]


def readme_camvid():
    """Whole MACs in giga."""
    macs = [mean(p, "macs/average", folder=CAMVID) / 1000 for p in ("plain", "bas0.2_layer-mean")]
    return [*tenths(miou("plain"), miou("bas0.2_layer-mean")), *(f"{m:.2f}" for m in macs)]


def measured_cifar10():
    gated = [f"resnet20_{point}" for point in ("bas_gamma0.05", "bas_gamma0.2", "l0_gamma0.5")]
    scratch = "resnet20_bas_gamma0.05"
    return [
        *(percent("resnet20", SCRATCH), percent("resnet20")),
        *(figure for point in gated for figure in (percent(point), fraction(point))),
        *(f(RECIPES[i], TARGET) for i in (0, 2) for f in (percent, fraction)),
        *(percent(scratch, SCRATCH), fraction(scratch, SCRATCH)),
    ]


def measured_camvid():
    points = ("bas0.2_layer-mean", "bas0.2")
    return [*tenths(miou("plain"), *map(miou, points)), *(fraction(p, CAMVID) for p in points)]


def segmentation():
    best = "bas0.2_layer-mean"
    return [*tenths(miou("plain"), miou(best)), fraction(best, CAMVID)]


def method():
    widest = mean("resnet20-w10", folder=SCRATCH)
    total, layer_mean = (f"resnet20-w10_{point}_gamma0.2" for point in ("bas", "bas-layer-mean"))
    lost = [miou("plain") - miou("bas0.2"), miou("plain") - miou("bas0.2_layer-mean")]
    lost += [widest - mean(total), widest - mean(layer_mean)]
    return [
        *(fraction(f"{DEFAULT}{gamma}", CALIBRATION) for gamma in (0, 0.2)),
        *(f"{points:.0f}" for points in lost),
        f"{100 - mean(layer_mean, 'macs/fraction'):.0f}",
    ]


CASES = {
    "camvid": ("results/README.md", "CamVid", camvid),
    "calibration": ("results/README.md", "CIFAR-10: which reductions", calibration),
    "target-MACs": ("results/README.md", "CIFAR-10: does the target-MACs", target_macs),
    "from plain": ("results/README.md", "CIFAR-10: the paper's claims, from trained", from_plain),
    "below the verdict": ("results/README.md", "CIFAR-10: verdict", recipe_and_baseline),
    "README, CIFAR-10": ("README.md", "| ResNet-20, CIFAR-10", readme_cifar10),
    "README, CamVid": ("README.md", "| PSPNet-R18, CamVid", readme_camvid),
    "measured, CIFAR-10": ("docs/measured.md", "CIFAR-10", measured_cifar10),
    "measured, CamVid": ("docs/measured.md", "CamVid", measured_camvid),
    "segmentation": ("docs/segmentation.md", "In your project", segmentation),
    "reductions": ("docs/method.md", "Reductions", method),
}


@pytest.mark.parametrize(("name", "part", "figures"), CASES.values(), ids=list(CASES))
def test_a_text_has_the_figures_of_the_results(name, part, figures):
    text = row(name, part[2:]) if part.startswith("| ") else section(name, part)
    assert Counter(figures()) - numbers(text) == Counter()
