"""The figures of the other texts that cite results, made anew from the JSON files."""

import json

import numpy as np
import pytest
from reproduction.figures import (
    CALIBRATION,
    PLAIN,
    RESULTS,
    SCRATCH,
    TARGET,
    fraction,
    gates,
    mean,
    on_the_line,
    percent,
    text_of,
    values,
)

CAMVID = "camvid-1500"
DEFAULT, BOTH_MEAN = "bas-sum_l0-layer-mean_gamma", "bas-mean_l0-mean_gamma"
LAYER_MEAN, L0_SUM = "bas-layer-mean_l0-layer-mean_gamma", "bas-sum_l0-sum_gamma"
RECIPES = [f"resnet20_target{target}" for target in (0.4, 0.6, 0.8)]


def miou(point):
    return mean(point, "mIoU", folder=CAMVID)


def sentences_camvid():
    best, total = "bas0.2_layer-mean", "bas0.2"
    return {
        "camvid": f"gated network, at {fraction(best, CAMVID)} % of the MACs, is "
        f"{miou('plain') - miou(best):.1f} points of mIoU behind",
        "camvid, sum": f"it costs {miou('plain') - miou(total):.0f} points; with a quarter of that "
        f"weight, or as the mean of each layer (`layer_mean`), {miou('plain') - miou(best):.0f} to "
        f"{miou('plain') - miou('bas0.05'):.0f} points",
        "camvid, chosen": f"by the {miou(best) - miou(total):.0f} points between it and the sum",
    }


def sentences_calibration():
    one, most, least = (f"{DEFAULT}{gamma}" for gamma in (0, 0.05, 0.2))
    conditional = min(
        mean(f"{DEFAULT}{gamma}", "gates/conditional", folder=CALIBRATION)
        for gamma in (0, 0.05, 0.1, 0.2)
    )
    both, single, closing = f"{LAYER_MEAN}0.2", f"{L0_SUM}0.01", [f"{BOTH_MEAN}0.05"]
    closing.append(f"{BOTH_MEAN}0.2")
    seeds = values(CALIBRATION, "resnet20")
    return {
        "calibration": f"span {fraction(one, CALIBRATION)} to {fraction(least, CALIBRATION)} % of "
        f"the MACs for gamma 0 to 0.2, at {mean(one, folder=CALIBRATION):.1f} to "
        f"{percent(least, CALIBRATION)}, and {int(conditional)} % and more",
        "calibration, layer_mean": f"ends with {percent(both, CALIBRATION)} at "
        f"{fraction(both, CALIBRATION)} % of the MACs instead of {percent(least, CALIBRATION)} at "
        f"{fraction(least, CALIBRATION)} %",
        "calibration, sum": f"closes {gates(single, 'always_off', CALIBRATION)} % of the gates",
        "calibration, mean": "{} to {} % only, leave {} and {} % of the gates always on".format(
            *(fraction(point, CALIBRATION) for point in closing),
            *(gates(point, "always_on", CALIBRATION) for point in closing),
        ),
        "calibration, defaults": f"have {percent(one, CALIBRATION)} at "
        f"{fraction(one, CALIBRATION)} and {percent(most, CALIBRATION)} at "
        f"{fraction(most, CALIBRATION)} %",
        "calibration, seeds": f"network from scratch lie {np.ptp(seeds):.1f} points apart",
    }


def sentences_targets_and_baseline():
    found = [
        (mean(recipe, "macs/fraction", folder=TARGET), mean(recipe, folder=TARGET))
        for recipe in RECIPES
    ]
    level = [
        on_the_line([f"resnet20_l0_gamma{g}" for g in (0.2, 0.3, 0.5)], share) for share, _ in found
    ]
    start, longer = mean("resnet20", folder=SCRATCH), mean("resnet20")
    loop = [
        100 * json.loads(path.read_text(encoding="utf-8"))["accuracy"]
        for path in sorted((RESULTS / "cifar10-plain-loop").glob("*.json"))
    ]
    ours = values(CALIBRATION, "resnet20")
    return {
        "target-MACs": "{1:.1f}, {3:.1f} and {5:.1f} % at {0:.0f}, {2:.0f} and {4:.0f} % of the "
        "MACs, where the ".format(*found[0], *found[1], *found[2])
        + "line through L0's points has {:.1f}, {:.1f} and {:.1f} %".format(*level),
        "target-MACs, targets": "within {:.1f}, {:.1f} and {:.1f} points of the target".format(
            *(abs(100 * 0.2 * (2 + i) - share) for i, (share, _) in enumerate(found))
        ),
        "target-MACs, start": f"All three are {found[0][1] - start:.1f} to "
        f"{found[2][1] - start:.1f} points above the plain network that they start from, "
        f"{start:.1f} %",
        "target-MACs, as long": f"comes to {longer:.1f} % (below). So {100 - found[0][0]:.0f} % "
        f"fewer MACs cost {longer - found[0][1]:.0f} points, {100 - found[2][0]:.0f} % fewer "
        f"{longer - found[2][1]:.1f}",
        "baseline": "seeds 0, 1, 2: {:.1f}, {:.1f} and {:.1f} %, on average {:.1f} %; here ".format(
            *loop, np.mean(loop)
        ),
        "baseline, here": "{:.1f}, {:.1f} and {:.1f} %, on average {:.1f} %".format(
            *ours, np.mean(ours)
        ),
        "baseline, apart": f"{np.mean(loop) - np.mean(ours):.1f} points apart",
        "seeds": f"lie within {seeds_apart()} point of each other",
    }


def seeds_apart():
    """The most that seeds of one setting from trained plain networks differ by, rounded up."""
    points = {path.name.split("_seed")[0] for path in (RESULTS / PLAIN).glob("*.json")}
    return int(np.ceil(max(np.ptp(values(PLAIN, point)) for point in points)))


def sentences_readme():
    bas, less, l0 = (
        f"resnet20_{point}" for point in ("bas_gamma0.2", "bas_gamma0.05", "l0_gamma0.5")
    )
    targets = [(percent(RECIPES[i], TARGET), fraction(RECIPES[i], TARGET)) for i in (0, 2)]
    scratch = "resnet20_bas_gamma0.05"
    return {
        "CIFAR-10": f"plain ResNet-20 {percent('resnet20', SCRATCH)}, with 20 epochs more "
        f"{percent('resnet20')}; gated from the first of these with 20 epochs: batch-shaping "
        f"{percent(less)} at {fraction(less)} % and {percent(bas)} at {fraction(bas)} % of the "
        f"MACs, L0 alone {percent(l0)} at {fraction(l0)} %",
        "CIFAR-10, recipe": f"{targets[0][0]} at {targets[0][1]} % and {targets[1][0]} at "
        f"{targets[1][1]} %, where 80 % was the target",
        "CIFAR-10, scratch": f"from scratch {percent(scratch, SCRATCH)} at "
        f"{fraction(scratch, SCRATCH)} %",
        "CamVid": f"plain {miou('plain'):.1f} % mIoU; gated {miou('bas0.2_layer-mean'):.1f} % at "
        f"{fraction('bas0.2_layer-mean', CAMVID)} % of the MACs with `reduction='layer_mean'`, "
        f"{miou('bas0.2'):.1f} % at {fraction('bas0.2', CAMVID)} % with the plain sum",
    }


def sentences_method():
    widest = mean("resnet20-w10", folder=SCRATCH)
    total, layer_mean = (f"resnet20-w10_{point}_gamma0.2" for point in ("bas", "bas-layer-mean"))
    return {
        "range": f"span {fraction(f'{DEFAULT}0', CALIBRATION)} to "
        f"{fraction(f'{DEFAULT}0.2', CALIBRATION)} % of the MACs over gamma 0 to 0.2",
        "camvid": f"lost {miou('plain') - miou('bas0.2'):.0f} points of mIoU with it and "
        f"{miou('plain') - miou('bas0.2_layer-mean'):.0f} with",
        "width": f"lost {widest - mean(total):.0f} points on CIFAR-10 with it and "
        f"{widest - mean(layer_mean):.0f} with `'layer_mean'`, which saved "
        f"{100 - mean(layer_mean, 'macs/fraction'):.0f} %",
    }


SENTENCES = {
    "results/README.md": {
        **sentences_camvid(),
        **sentences_calibration(),
        **sentences_targets_and_baseline(),
    },
    "README.md": sentences_readme(),
    "docs/method.md": sentences_method(),
}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        pytest.param(name, sentence, id=f"{name}-{subject}")
        for name, sentences in SENTENCES.items()
        for subject, sentence in sentences.items()
    ],
)
def test_a_text_has_the_figures_of_the_results(name, sentence):
    assert sentence in text_of(name)


def test_the_readme_counts_the_claims_that_held():
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    claims = [line for line in text.splitlines() if line.startswith("| (")]
    held = [line for line in claims if line.split(" | ")[-1].startswith("holds")]
    assert (len(held), len(claims)) == (2, 6)
    assert "two of six held" in text_of("README.md")
