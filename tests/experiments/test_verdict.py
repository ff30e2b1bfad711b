"""The figures of the verdict in results/README.md, made anew from the JSON files of the results."""

import json

import numpy as np
import pytest
from reproduction.figures import (
    PLAIN,
    RESULTS,
    SCRATCH,
    extremes,
    fraction,
    gates,
    mean,
    millions,
    on_the_line,
    percent,
    spread,
    text_of,
    values,
)

BAS, L0, GAMMAS = "resnet20_bas_gamma0.2", "resnet20_l0_gamma0.5", (0.05, 0.1, 0.2)
ANNEALED = [f"resnet20_bas_gamma{gamma}" for gamma in (0.05, 0.1)]


def difficulty(point):
    """Rank correlation of MACs and loss, and points of dense MACs from easiest to hardest tenth."""
    path = RESULTS.parent / "benchmarks" / "2026-11-23-difficulty-cifar10" / f"{point}_seed0.json"
    found = json.loads(path.read_text(encoding="utf-8"))["models"][0]["difficulty"]
    tenths = [fraction for _, fraction, _ in found["bins"]]
    return found["with_loss"]["rho"], 100 * (tenths[-1] - tenths[0])


def sentences_a_and_b():
    """Parts of the text on depth and on L0 alone, by claim."""
    bas32 = "resnet32_bas_gamma0.05"
    line = [f"resnet32_l0_gamma{gamma}" for gamma in (0.2, 0.3, 0.5)]
    deeper = [f"resnet32_bas_gamma{gamma}" for gamma in GAMMAS]
    below = [on_the_line(line, mean(point, "macs/fraction")) - mean(point) for point in deeper]
    third, shallow = "resnet20_l0_gamma0.3", [f"resnet20_bas_gamma{gamma}" for gamma in GAMMAS]
    scratch = [f"resnet20_bas_gamma{gamma}" for gamma in (0.05, 0.2)]
    between = np.mean([mean(point, folder=SCRATCH) for point in scratch])
    l0_scratch = "resnet20_l0_gamma0.05"
    return {
        "a": f"{percent(bas32)} at {millions(bas32)} MACs against {percent('resnet20')} at "
        f"{millions('resnet20')}, three seeds each",
        "a, difference": f"{mean('resnet20') - mean(bas32):.1f} points at equal MACs, where seeds "
        f"lie at most {max(np.ptp(values(PLAIN, point)) for point in (bas32, 'resnet20')):.1f}",
        "a, plain": f"({mean('resnet32'):.1f} and {percent('resnet20')}, from scratch "
        f"{mean('resnet32', folder=SCRATCH):.1f} and {percent('resnet20', SCRATCH)})",
        "a, scratch": f"| {percent(bas32, SCRATCH)} at {millions(bas32, SCRATCH)} against "
        f"{percent('resnet20', SCRATCH)} |",
        "b": f"L0 {spread(L0)} at {mean(L0, 'macs/fraction'):.1f} % of the MACs, BAS {spread(BAS)} "
        f"at {mean(BAS, 'macs/fraction'):.1f} %",
        "b, third point": f"one seed: L0 {percent(third)} at {fraction(third)} %, "
        f"{mean(third) - on_the_line(shallow, mean(third, 'macs/fraction')):.1f} points above",
        "b, deeper": f"BAS lies {below[0]:.1f}, {below[1]:.1f} and {below[2]:.1f} points below the "
        "line through L0's points, at {}, {} and {} %".format(*map(fraction, deeper)),
        # At 45 % of the MACs, half-way between BAS's two points.
        "b, scratch": f"ResNet-20 at {fraction(l0_scratch, SCRATCH)} %: L0 "
        f"({percent(l0_scratch, SCRATCH)}) lies {between - mean(l0_scratch, folder=SCRATCH):.0f} "
        f"points below the line through BAS's {percent(scratch[0], SCRATCH)} at "
        f"{fraction(scratch[0], SCRATCH)} % and {percent(scratch[1], SCRATCH)} at "
        f"{fraction(scratch[1], SCRATCH)} %",
    }


def closed(depth, folder=PLAIN):
    """Gates that L0 and BAS close for good at gamma 0.2."""
    l0, bas = (f"resnet{depth}_{method}_gamma0.2" for method in ("l0", "bas"))
    return f"{gates(l0, 'always_off', folder)} against {gates(bas, 'always_off', folder)} %"


def sentences_c():
    """Those on conditional gates."""
    bas, l0 = (
        [f"resnet{depth}_{method}_gamma{gamma}" for depth in (20, 32) for gamma in GAMMAS]
        for method in ("bas", "l0")
    )
    saves = ["resnet20_l0_gamma0.3", "resnet32_l0_gamma0.3", L0, "resnet32_l0_gamma0.5"]
    kept = [(gates(p, "conditional"), gates(p, "always_off"), fraction(p)) for p in saves]
    large = [f"resnet{depth}_bas_gamma0.5" for depth in (20, 32)]
    first, second = ((gates(p, "conditional"), gates(p, "always_off"), fraction(p)) for p in large)
    scratch_bas = [f"resnet20_bas_gamma{gamma}" for gamma in (0.05, 0.2)]
    scratch_l0 = [f"resnet20_l0_gamma{gamma}" for gamma in (0.05, 0.2)]
    open_l0, off_l0 = (
        [gates(point, kind, SCRATCH) for point in scratch_l0]
        for kind in ("conditional", "always_off")
    )
    return {
        "c, BAS": f"BAS {extremes(bas, 'conditional')} conditional, "
        f"{extremes(bas, 'always_off')} closed for good",
        "c, L0": f"L0 {extremes(l0, 'always_on')} always on, {extremes(l0, 'always_off')} closed",
        "c, L0 that saves": "{} % conditional and {} % closed at {} % of the MACs, {} and {} % at "
        "{} %, {} and {} % at {} %, {} and {} % at {} %".format(
            *(x for each in kept for x in each)
        ),
        "c, large gamma": f"BAS at gamma 0.5: {first[0]} and {first[1]} % at {first[2]} % of the "
        f"MACs, {second[0]} and {second[1]} % at {second[2]} %",
        "c, equal gamma": f"(gamma 0.2: {closed(20)} in ResNet-20, {closed(32)} in ResNet-32)",
        "c, scratch": f"BAS {extremes(scratch_bas, 'conditional', SCRATCH)} and "
        f"{extremes(scratch_bas, 'always_off', SCRATCH)}; L0 {open_l0[0]} and {open_l0[1]} % "
        f"conditional, {off_l0[0]} and {off_l0[1]} % closed",
    }


def below_annealed(point):
    """Points below the line through the annealed settings: of the mean, and of each seed.

    The one at gamma 0.05 has one seed.
    """
    shares = [mean(ANNEALED[1], "macs/fraction"), mean(ANNEALED[0], "macs/fraction")]
    found = []
    for seed, (share, accuracy) in enumerate(
        zip(values(PLAIN, point, "macs/fraction"), values(PLAIN, point), strict=True)
    ):
        shares[0] = values(PLAIN, ANNEALED[1], "macs/fraction")[seed]
        line = [values(PLAIN, ANNEALED[1])[seed], mean(ANNEALED[0])]
        found.append(float(np.interp(share, shares, line)) - accuracy)
    return on_the_line(ANNEALED, mean(point, "macs/fraction")) - mean(point), sorted(found)


def sentences_d():
    """Those on a fixed lambda."""
    fixed, layer_mean = "resnet20_bas-fixed", "resnet20_bas-fixed_layer-mean"
    (of_sum, seeds_sum), (of_mean, seeds_mean) = below_annealed(fixed), below_annealed(layer_mean)
    return {
        "d": f"{spread(fixed)} at {fraction(fixed)} % of the MACs; as `layer_mean` "
        f"{spread(layer_mean)} at {fraction(layer_mean)} %; gamma 0.1 {spread(ANNEALED[1])} at "
        f"{fraction(ANNEALED[1])} %, three seeds each; gamma 0.05 {percent(ANNEALED[0])} at "
        f"{fraction(ANNEALED[0])} %",
        "d, difference": f"{of_sum:.1f} points below the line through gamma 0.1 and 0.05, where "
        f"lambda is annealed, and {of_mean:.1f} where batch-shaping is a `layer_mean`",
        "d, seeds": f"By seed {seeds_sum[0]:.1f} to {seeds_sum[-1]:.1f} and "
        f"{seeds_mean[0]:.1f} to {seeds_mean[-1]:.1f} |",
        "d, scratch": f"| {percent(fixed, SCRATCH)} at {fraction(fixed, SCRATCH)} %; gamma 0.05 "
        f"{percent(ANNEALED[0], SCRATCH)} at {fraction(ANNEALED[0], SCRATCH)} %, one seed |",
    }


def curve(points):
    """Accuracy and MACs of the first setting, then of the others."""
    first, *others = points
    rest = ", ".join(f"{mean(point):.1f} at {millions(point)}" for point in others)
    return f"{percent(first)} at {millions(first)} MACs, {rest}"


def sentences_e_and_f():
    """Those on width and on the difficulty of images."""
    w10, w10_mean = "resnet20-w10_bas_gamma0.2", "resnet20-w10_bas-layer-mean_gamma0.2"
    start = mean("resnet20-w10", folder=SCRATCH)
    narrow, twice = (
        [f"{width}_bas_gamma{gamma}" for gamma in (0.05, 0.2, 0.5)]
        for width in ("resnet20", "resnet20-w2")
    )
    gains = [mean(wide) - mean(point) for wide, point in zip(twice, narrow, strict=True)]
    macs = "macs/average"
    below = [mean(point) - on_the_line(twice, mean(point, macs), macs) for point in narrow[:2]]
    easy, hard = (difficulty(f"from-plain_resnet20_bas_gamma{gamma}") for gamma in (0.05, 0.2))
    deep = difficulty("from-plain_resnet32_bas_gamma0.1")
    costs = [cost for _, cost in (easy, hard, deep)]
    return {
        "e": f"twice the width {curve(twice)}; ten times, gamma 0.2, {percent(w10)} at "
        f"{millions(w10)}, as `layer_mean` {percent(w10_mean)} at {millions(w10_mean)}; "
        f"ResNet-20-BAS {curve(narrow)}",
        "e, twice": f"twice the width gains {min(gains):.1f} to {max(gains):.1f} points at the "
        f"same gamma but none at equal MACs, where its line lies {below[1]:.1f} and {below[0]:.1f} "
        f"points below ResNet-20-BAS, at {millions(narrow[1])} and {millions(narrow[0])}",
        "e, plain twice": f"{percent('resnet20-w2')} at {millions('resnet20-w2')} plain",
        "e, plain": f"{percent('resnet20', SCRATCH)} at {millions('resnet20', SCRATCH)} MACs, "
        f"twice the width {percent('resnet20-w2', SCRATCH)} at {millions('resnet20-w2', SCRATCH)}, "
        f"ten times {percent('resnet20-w10', SCRATCH)} at {millions('resnet20-w10', SCRATCH)}",
        "e, sum": f"loses {start - mean(w10):.0f} points of the plain network",
        "e, layer_mean": f"it loses {start - mean(w10_mean):.0f} point, but leaves "
        f"{gates(w10_mean, 'always_on')} % of the gates always on and saves "
        f"{100 - mean(w10_mean, 'macs/fraction'):.0f} % of the MACs: "
        f"{mean(w10_mean, 'macs/average') / mean('resnet20', 'macs/average'):.1f} times those of "
        f"plain ResNet-20, which has {percent('resnet20')}",
        "f": f"{easy[0]:.2f} and {hard[0]:.2f} (BAS, gamma 0.05 and 0.2), {deep[0]:.2f} "
        "(ResNet-32-BAS, gamma 0.1); the hardest tenth costs "
        f"{min(costs):.1f} to {max(costs):.1f} points",
        "f, scratch": f"| {difficulty('10k-20e_resnet20_bas_gamma0.05')[0]:.2f} |",
    }


SENTENCES = {
    **sentences_a_and_b(),
    **sentences_c(),
    **sentences_d(),
    **sentences_e_and_f(),
}


@pytest.mark.parametrize(("claim", "sentence"), SENTENCES.items(), ids=list(SENTENCES))
def test_the_verdict_has_the_figures_of_the_results(claim, sentence):
    assert sentence in text_of("results/README.md"), claim
