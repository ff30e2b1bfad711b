"""The figures in the text of results/README.md, made anew from the JSON files of the results."""

import json

import numpy as np
import pytest
from helpers import ROOT

RESULTS = ROOT / "results"
PLAIN, SCRATCH, TARGET = "cifar10-from-plain", "cifar10-10k-20e", "cifar10-target-macs"


def values(folder, point, key="accuracy"):
    """One figure of all seeds of a setting: percent, but MACs in millions."""
    paths = sorted((RESULTS / folder).glob(f"{point}_seed[0-9]*.json"))
    assert paths, point
    factor = 1e-6 if key == "macs/average" else 100
    return [factor * json.loads(path.read_text(encoding="utf-8"))[key] for path in paths]


def mean(point, key="accuracy", *, folder=PLAIN):
    return float(np.mean(values(folder, point, key)))


def percent(point, folder=PLAIN):
    return f"{mean(point, folder=folder):.1f} %"


def millions(point, folder=PLAIN):
    return f"{mean(point, 'macs/average', folder=folder):.1f} M"


def spread(point):
    accuracies = values(PLAIN, point)
    return f"{percent(point)} ({min(accuracies):.1f} to {max(accuracies):.1f})"


def on_the_line(line, fraction):
    """Accuracy on the line through settings, at this share of the MACs in percent."""
    points = sorted((mean(point, "macs/fraction"), mean(point)) for point in line)
    fractions, accuracies = zip(*points, strict=True)
    return float(np.interp(fraction, fractions, accuracies))


def difficulty(point):
    """Rank correlation of MACs and loss, and points of dense MACs from easiest to hardest tenth."""
    path = ROOT / "benchmarks" / "2026-11-23-difficulty-cifar10" / f"{point}_seed0.json"
    found = json.loads(path.read_text(encoding="utf-8"))["models"][0]["difficulty"]
    tenths = [fraction for _, fraction, _ in found["bins"]]
    return found["with_loss"]["rho"], 100 * (tenths[-1] - tenths[0])


def sentences_a_to_c():
    """Parts of the text on depth, L0 alone and conditional gates, by claim."""
    bas32, l0, bas = "resnet32_bas_gamma0.05", "resnet20_l0_gamma0.5", "resnet20_bas_gamma0.2"
    line = [f"resnet32_l0_gamma{gamma}" for gamma in (0.2, 0.3, 0.5)]
    deeper = [f"resnet32_bas_gamma{gamma}" for gamma in (0.05, 0.1, 0.2)]
    below = [on_the_line(line, mean(point, "macs/fraction")) - mean(point) for point in deeper]
    return {
        "a": f"{percent(bas32)} at {millions(bas32)} MACs against {percent('resnet20')} at "
        f"{millions('resnet20')}, three seeds each",
        "a, difference": f"{mean('resnet20') - mean(bas32):.1f} points at equal MACs, where seeds "
        f"lie at most {max(np.ptp(values(PLAIN, point)) for point in (bas32, 'resnet20')):.1f}",
        "a, plain": f"({mean('resnet32'):.1f} and {percent('resnet20')}, from scratch "
        f"{mean('resnet32', folder=SCRATCH):.1f} and {percent('resnet20', SCRATCH)})",
        "a, scratch": f"| {percent(bas32, SCRATCH)} at {millions(bas32, SCRATCH)} against "
        f"{percent('resnet20', SCRATCH)} |",
        "b": f"L0 {spread(l0)} at {mean(l0, 'macs/fraction'):.1f} % of the MACs, BAS {spread(bas)} "
        f"at {mean(bas, 'macs/fraction'):.1f} %",
        "b, deeper": f"BAS lies {below[0]:.1f}, {below[1]:.1f} and {below[2]:.1f} points below",
        "c": "L0 where it saves as much: "
        + ", ".join(
            f"{mean(point, 'gates/conditional'):.0f}{words[0]} and "
            f"{mean(point, 'gates/always_off'):.0f} %{words[1]} at "
            f"{mean(point, 'macs/fraction'):.0f} %{words[2]}"
            for point, words in [
                ("resnet32_l0_gamma0.3", (" % conditional", " closed", " of the MACs")),
                (l0, ("", "", "")),
                ("resnet32_l0_gamma0.5", ("", "", "")),
            ]
        ),
    }


def sentences_d_to_f():
    """Those on a fixed lambda, width, difficulty, and the target-MACs recipe."""
    l0, bas = "resnet20_l0_gamma0.5", "resnet20_bas_gamma0.2"
    fixed = values(PLAIN, "resnet20_bas-fixed")
    annealed = values(PLAIN, "resnet20_bas_gamma0.1")
    apart = sorted(second - first for first, second in zip(fixed, annealed, strict=True))
    easy, hard = (difficulty(f"from-plain_resnet20_bas_gamma{gamma}") for gamma in (0.05, 0.2))
    deep = difficulty("from-plain_resnet32_bas_gamma0.1")
    costs = [cost for _, cost in (easy, hard, deep)]
    kept, lines = "resnet20_bas-fixed_layer-mean", [f"resnet20_bas_gamma{g}" for g in (0.05, 0.1)]
    kept_macs = mean(kept, "macs/fraction")
    recipes = [f"resnet20_target{target}" for target in (0.4, 0.6, 0.8)]
    targets = [
        (mean(recipe, "macs/fraction", folder=TARGET), mean(recipe, folder=TARGET))
        for recipe in recipes
    ]
    level = [on_the_line([l0, "resnet20_l0_gamma0.2"], fraction) for fraction, _ in targets]
    w2, w10 = "resnet20-w2_bas_gamma0.2", "resnet20-w10_bas_gamma0.2"
    return {
        "d": f"{spread('resnet20_bas-fixed')} at {mean('resnet20_bas-fixed', 'macs/fraction'):.0f} "
        f"% of the MACs; gamma 0.1 {spread('resnet20_bas_gamma0.1')}",
        "d, difference": f"{np.mean(apart):.1f} points below an annealed lambda at as many MACs, "
        f"{apart[0]:.1f} to {apart[-1]:.1f} by seed",
        "d, layer_mean": f"As `layer_mean` {percent(kept)} at {kept_macs:.0f} %, "
        f"{on_the_line(lines, kept_macs) - mean(kept):.1f} points below the line",
        "e": f"twice the width {percent(w2)} at {millions(w2)} MACs, ten times {percent(w10)} at "
        f"{millions(w10)}; ResNet-20-BAS {percent(bas)} at {millions(bas)}, "
        f"{percent('resnet20_bas_gamma0.05')} at {millions('resnet20_bas_gamma0.05')}",
        "e, plain": f"{percent('resnet20', SCRATCH)} at {millions('resnet20', SCRATCH)} MACs, "
        f"twice the width {percent('resnet20-w2', SCRATCH)} at {millions('resnet20-w2', SCRATCH)}, "
        f"ten times {percent('resnet20-w10', SCRATCH)} at {millions('resnet20-w10', SCRATCH)}",
        "f": f"{easy[0]:.2f} and {hard[0]:.2f} (BAS, gamma 0.05 and 0.2), {deep[0]:.2f} "
        "(ResNet-32-BAS, gamma 0.1); the hardest tenth costs "
        f"{min(costs):.1f} to {max(costs):.1f} points",
        "f, scratch": f"| {difficulty('10k-20e_resnet20_bas_gamma0.05')[0]:.2f} |",
        "target-MACs": "{1:.1f}, {3:.1f} and {5:.1f} % at {0:.0f}, {2:.0f} and {4:.0f} % of the "
        "MACs, where the ".format(*targets[0], *targets[1], *targets[2])
        + "line through L0's points has {:.1f}, {:.1f} and {:.1f} %".format(*level),
    }


SENTENCES = {**sentences_a_to_c(), **sentences_d_to_f()}


@pytest.mark.parametrize(("claim", "sentence"), SENTENCES.items(), ids=list(SENTENCES))
def test_the_verdict_has_the_figures_of_the_results(claim, sentence):
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert sentence in text.replace("\n", " "), claim
