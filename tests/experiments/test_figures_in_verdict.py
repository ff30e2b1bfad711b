"""The verdict in results/README.md has the figures of the JSON files; how it says it is free."""

import json
from collections import Counter

import numpy as np
import pytest
from experiments.figures import (
    PLAIN,
    RESULTS,
    SCRATCH,
    extremes,
    fraction,
    gates,
    mean,
    millions,
    numbers,
    on_the_line,
    percent,
    row,
    spread,
    tenths,
    values,
)

BAS, L0, GAMMAS = "resnet20_bas_gamma0.2", "resnet20_l0_gamma0.5", (0.05, 0.1, 0.2)
ANNEALED = [f"resnet20_bas_gamma{gamma}" for gamma in (0.05, 0.1)]


def depth():
    deep, shallow = "resnet32_bas_gamma0.05", "resnet20"
    return [
        *(figure for point in (deep, shallow) for figure in (percent(point), millions(point))),
        *tenths(
            mean(shallow) - mean(deep),
            max(np.ptp(values(PLAIN, point)) for point in (deep, shallow)),
        ),
        *(percent("resnet32"), percent("resnet32", SCRATCH)),
        *(percent(deep, SCRATCH), millions(deep, SCRATCH), percent(shallow, SCRATCH)),
    ]


def l0_alone():
    line = [f"resnet32_l0_gamma{gamma}" for gamma in (0.2, 0.3, 0.5)]
    deeper = [f"resnet32_bas_gamma{gamma}" for gamma in GAMMAS]
    below = [on_the_line(line, mean(point, "macs/fraction")) - mean(point) for point in deeper]
    third, shallow = "resnet20_l0_gamma0.3", [f"resnet20_bas_gamma{gamma}" for gamma in GAMMAS]
    above = mean(third) - on_the_line(shallow, mean(third, "macs/fraction"))
    scratch = [*(f"resnet20_bas_gamma{gamma}" for gamma in (0.05, 0.2)), "resnet20_l0_gamma0.05"]
    accuracies = [mean(point, folder=SCRATCH) for point in scratch]
    return [
        *(*spread(L0), *tenths(mean(L0, "macs/fraction"))),
        *(*spread(BAS), *tenths(mean(BAS, "macs/fraction"))),
        *(percent(third), fraction(third), *tenths(above)),
        *(*tenths(*below), *map(fraction, deeper)),
        *tenths(*accuracies),
        *(fraction(point, SCRATCH) for point in scratch),
        # L0's point lies half-way between BAS's two.
        f"{np.mean(accuracies[:2]) - accuracies[2]:.0f}",
    ]


def conditional_gates():
    bas, l0 = (
        [f"resnet{depth}_{method}_gamma{gamma}" for depth in (20, 32) for gamma in GAMMAS]
        for method in ("bas", "l0")
    )
    saves = ["resnet20_l0_gamma0.3", "resnet32_l0_gamma0.3", L0, "resnet32_l0_gamma0.5"]
    large = [f"resnet{depth}_bas_gamma0.5" for depth in (20, 32)]
    equal = [f"resnet{depth}_{method}_gamma0.2" for depth in (20, 32) for method in ("l0", "bas")]
    scratch_bas = [f"resnet20_bas_gamma{gamma}" for gamma in (0.05, 0.2)]
    scratch_l0 = [f"resnet20_l0_gamma{gamma}" for gamma in (0.05, 0.2)]
    kinds = ("conditional", "always_off")
    return [
        *(figure for kind in kinds for figure in extremes(bas, kind)),
        *(figure for kind in ("always_on", "always_off") for figure in extremes(l0, kind)),
        *(gates(point, kind) for point in [*saves, *large] for kind in kinds),
        *(fraction(point) for point in [*saves, *large]),
        *(gates(point, "always_off") for point in equal),
        *(figure for kind in kinds for figure in extremes(scratch_bas, kind, SCRATCH)),
        *(gates(point, kind, SCRATCH) for point in scratch_l0 for kind in kinds),
    ]


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
    whole = on_the_line(ANNEALED, mean(point, "macs/fraction")) - mean(point)
    return tenths(whole, min(found), max(found))


def fixed_lambda():
    points = ["resnet20_bas-fixed", "resnet20_bas-fixed_layer-mean"]
    scratch = [points[0], ANNEALED[0]]
    return [
        *(figure for point in [*points, ANNEALED[1]] for figure in spread(point)),
        *(fraction(point) for point in [*points, *ANNEALED]),
        percent(ANNEALED[0]),
        *(figure for point in points for figure in below_annealed(point)),
        *(figure(point, SCRATCH) for point in scratch for figure in (percent, fraction)),
    ]


def width():
    w10, w10_mean = "resnet20-w10_bas_gamma0.2", "resnet20-w10_bas-layer-mean_gamma0.2"
    start, macs = mean("resnet20-w10", folder=SCRATCH), "macs/average"
    narrow, twice = (
        [f"{width}_bas_gamma{gamma}" for gamma in (0.05, 0.2, 0.5)]
        for width in ("resnet20", "resnet20-w2")
    )
    gains = [mean(wide) - mean(point) for wide, point in zip(twice, narrow, strict=True)]
    below = [mean(point) - on_the_line(twice, mean(point, macs), macs) for point in narrow[:2]]
    gated = [*twice, w10, w10_mean, *narrow, "resnet20-w2"]
    plain = ["resnet20", "resnet20-w2", "resnet20-w10"]
    return [
        *(figure(point) for point in gated for figure in (percent, millions)),
        *(figure(point, SCRATCH) for point in plain for figure in (percent, millions)),
        *tenths(min(gains), max(gains), *below),
        *(f"{start - mean(w10):.0f}", f"{start - mean(w10_mean):.0f}"),
        gates(w10_mean, "always_on"),
        f"{100 - mean(w10_mean, 'macs/fraction'):.0f}",
        *tenths(mean(w10_mean, macs) / mean("resnet20", macs), mean("resnet20")),
    ]


def measured_difficulty(point):
    """Rank correlation of MACs and loss, and points of dense MACs from easiest to hardest tenth."""
    path = RESULTS.parent / "benchmarks" / "2026-11-23-difficulty-cifar10" / f"{point}_seed0.json"
    found = json.loads(path.read_text(encoding="utf-8"))["models"][0]["difficulty"]
    costs = [share for _, share, _ in found["bins"]]
    return found["with_loss"]["rho"], 100 * (costs[-1] - costs[0])


def difficulty():
    names = ("resnet20_bas_gamma0.05", "resnet20_bas_gamma0.2", "resnet32_bas_gamma0.1")
    measured = [measured_difficulty(f"from-plain_{name}") for name in names]
    costs = [cost for _, cost in measured]
    scratch, _ = measured_difficulty("10k-20e_resnet20_bas_gamma0.05")
    return [
        *(f"{rho:.2f}" for rho in (*(rho for rho, _ in measured), scratch)),
        *tenths(min(costs), max(costs)),
    ]


CLAIMS = {
    "(a)": depth,
    "(b)": l0_alone,
    "(c)": conditional_gates,
    "(d)": fixed_lambda,
    "(e)": width,
    "(f)": difficulty,
}


@pytest.mark.parametrize(("claim", "figures"), CLAIMS.items())
def test_the_verdict_on_a_claim_has_the_figures_of_the_results(claim, figures):
    assert Counter(figures()) - numbers(row("results/README.md", claim)) == Counter()
