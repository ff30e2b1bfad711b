"""The trade-off picture: hand-worked averages, what is drawn where, and refused files."""

import json
import math

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.image import imread

from mmbas.analysis.plot_style import PALETTE
from mmbas.analysis.tradeoff import (
    Spread,
    load_results,
    plain_frontier,
    tradeoff_points,
)
from mmbas.analysis.tradeoff_plot import draw_tradeoff, save_tradeoff

DATA = "made-up data"
# method, name, dense, accuracy, MACs, of 40 M
RUNS = [
    ("BAS", "bas_gamma0.05_seed0", False, 0.90, 20e6),
    ("BAS", "bas_gamma0.05_seed1", False, 0.94, 26e6),
    ("BAS", "bas_gamma0.05_seed10", False, 0.89, 20e6),
    ("BAS", "bas_gamma0.2_seed0", False, 0.88, 12e6),
    ("L0", "gamma0.05_seed0", False, 0.87, 14e6),
    ("plain", "plain_seed0", True, 0.925, 40e6),
    ("plain", "plain_seed1", True, 0.935, 40e6),
]


def write(folder, runs=RUNS, **more):
    paths = []
    for i, (method, name, dense, accuracy, macs) in enumerate(runs):
        record = {
            "name": name,
            "method": method,
            "dense": dense,
            "data": DATA,
            "accuracy": accuracy,
            "macs/average": macs,
            "macs/dense": 40e6,
            "macs/fraction": macs / 40e6,
            **more,
        }
        paths.append(folder / f"{i}.json")
        paths[-1].write_text(json.dumps(record))
    return paths


def change(path, **changes):
    """The file with other values; None removes a key."""
    record = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))


def near(mean, low, high):
    return Spread(*(pytest.approx(value, rel=1e-12) for value in (mean, low, high)))


@pytest.fixture
def points(tmp_path):
    return tradeoff_points(load_results(write(tmp_path)))


def test_seeds_are_averaged_by_hand(points):
    assert [(p.method, p.point, p.dense, p.num_runs) for p in points] == [
        ("BAS", "bas_gamma0.2", False, 1),  # by rising MACs
        ("BAS", "bas_gamma0.05", False, 3),
        ("L0", "gamma0.05", False, 1),
        ("plain", "plain", True, 2),
    ]
    # (90 + 94 + 89) / 3 = 91; (20 + 26 + 20) / 3 = 22 of 40 = 0.55
    assert points[1].score == near(91, 89, 94)
    assert points[1].macs == near(22e6, 20e6, 26e6)
    assert points[1].fraction == near(0.55, 0.5, 0.65)
    assert points[3].score == near(93, 92.5, 93.5)


def test_one_name_in_two_methods_is_two_points(tmp_path):
    runs = [("BAS", "a_seed0", False, 0.9, 2e7), ("L0", "a_seed0", False, 0.8, 2e7)]
    assert [p.num_runs for p in tradeoff_points(load_results(write(tmp_path, runs)))] == [1, 1]


def test_miou_is_percent_already(tmp_path):
    paths = write(tmp_path)
    for path in paths:
        change(path, accuracy=None, mIoU=55.5)
    results = load_results(paths)
    assert {(r.metric, r.score) for r in results} == {("mIoU", 55.5)}


def lines_of(figure):
    """By legend entry: positions, bars, colour and line style."""
    (axes,) = figure.axes
    lines = {}
    for container in axes.containers:
        data, _, bars = container
        ends = [[segment.tolist() for segment in bar.get_segments()] for bar in bars]
        look = (to_hex(data.get_color()).upper(), data.get_linestyle())
        lines[container.get_label()] = (data.get_xydata().tolist(), ends, look)
    return lines


def test_a_line_per_method_and_a_mark_per_dense_point(points):
    figure = draw_tradeoff(points, data=DATA, metric="accuracy")
    lines = lines_of(figure)

    assert set(lines) == {"BAS (n = 1 to 3)", "L0 (n = 1)", "plain (n = 2)"}
    positions, ends, look = lines["BAS (n = 1 to 3)"]
    np.testing.assert_allclose(positions, [[12, 88], [22, 91]])
    np.testing.assert_allclose(ends[0][1], [[20, 91], [26, 91]])
    np.testing.assert_allclose(ends[1][1], [[22, 89], [22, 94]])
    assert look == (PALETTE[0], "-")
    assert lines["L0 (n = 1)"][2] == (PALETTE[1], "-")
    assert lines["plain (n = 2)"][2] == ("#000000", "None")
    (axes,) = figure.axes
    assert axes.get_title() == DATA
    assert axes.get_xlabel() == "average MACs per image (M)"
    assert axes.get_ylabel() == "accuracy (%)"
    assert axes.get_legend().get_title().get_text() == "mean of n runs,\nbars: lowest to highest"


def test_marks_of_the_legend_are_not_hidden_by_error_bars(points):
    (axes,) = draw_tradeoff(points, data=DATA, metric="accuracy").axes
    legend = axes.get_legend()
    drawn = {c.get_label(): c[0].get_marker() for c in axes.containers}
    names = [text.get_text() for text in legend.get_texts()]
    assert dict(zip(names, [m.get_marker() for m in legend.get_lines()], strict=True)) == drawn
    assert legend.findobj(LineCollection) == []


# By rising MACs 80, 85, 84, 90, 90 and 88 %: the third, the fifth and the sixth cost more than one
# that is as good.
PLAIN = [
    ("plain", "resnet8_seed0", True, 0.80, 10e6),
    ("plain", "resnet8_seed1", True, 0.80, 10e6),
    ("plain", "resnet14", True, 0.85, 20e6),
    ("narrower", "c12", True, 0.84, 22e6),
    ("plain", "resnet20", True, 0.90, 40e6),
    ("narrower", "c16", True, 0.90, 41e6),
    ("plain", "resnet32", True, 0.88, 70e6),
]


def frontier_of(figure):
    """The line through plain networks, which is no method's and so has no error bars."""
    (axes,) = figure.axes
    of_methods = [line for c in axes.containers for line in (c[0], *c[1])]
    return [line for line in axes.get_lines() if line not in of_methods]


def test_the_best_plain_networks_are_joined(tmp_path):
    points = tradeoff_points(load_results(write(tmp_path, [*RUNS[:5], *PLAIN])))
    assert [p.point for p in plain_frontier(points)] == ["resnet8", "resnet14", "resnet20"]
    figure = draw_tradeoff(points, data=DATA, metric="accuracy")

    (line,) = frontier_of(figure)
    np.testing.assert_allclose(line.get_xydata(), [[10, 80], [20, 85], [40, 90]])
    assert to_hex(line.get_color()) == "#000000"
    # Every plain network has a mark with its name, also those that are not the best.
    plain = [row for name, rows in lines_of(figure).items() if name[0] in "pn" for row in rows[0]]
    assert len(plain) == 6
    names = {text.get_text() for text in figure.axes[0].texts}
    assert names == {"resnet8", "resnet14", "resnet20", "resnet32", "c12", "c16"}


def test_the_legend_begins_with_plain_networks_and_follows_the_scores(tmp_path):
    runs = [
        ("low", "a", False, 0.5, 2e7),
        ("high", "a", False, 0.9, 1e7),
        ("high", "b", False, 0.4, 2e6),  # the highest score counts
        ("middle", "a", False, 0.7, 2e7),
        ("plain", "a", True, 0.3, 2e7),
        ("plain", "b", True, 0.4, 4e7),
    ]
    figure = draw_tradeoff(
        tradeoff_points(load_results(write(tmp_path, runs))), data=DATA, metric="accuracy"
    )
    names = [text.get_text().split(" (")[0] for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["best plain networks", "plain", "high", "middle", "low"]


def test_one_plain_network_is_a_mark_and_shares_of_dense_have_no_line(points, tmp_path):
    assert frontier_of(draw_tradeoff(points, data=DATA, metric="accuracy")) == []
    several = tradeoff_points(load_results(write(tmp_path, PLAIN)))
    figure = draw_tradeoff(several, data=DATA, metric="accuracy", relative=True)
    assert frontier_of(figure) == []


@pytest.mark.parametrize(
    ("macs", "scale"),
    [
        ([4e6, 25e6, 69e6], "linear"),
        ([4e6, 25e6, 40e6, 400e6], "log"),
        ([0, 25e6, 400e6], "linear"),  # a logarithmic axis has no 0
        ([40e6], "linear"),
    ],
)
def test_a_point_far_out_does_not_squeeze_the_others(tmp_path, macs, scale):
    runs = [("BAS", f"r{i}", False, 0.9, cost) for i, cost in enumerate(macs)]
    points = tradeoff_points(load_results(write(tmp_path, runs)))
    figure = draw_tradeoff(points, data=DATA, metric="accuracy")
    (axes,) = figure.axes
    assert axes.get_xscale() == scale
    figure.canvas.draw()
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert all("10^" not in label for label in shown)  # plain numbers
    assert len(shown) >= 2


def test_relative_and_large_networks_have_their_units(points, tmp_path):
    figure = draw_tradeoff(points, data=DATA, metric="accuracy", relative=True)
    np.testing.assert_allclose(lines_of(figure)["BAS (n = 1 to 3)"][0], [[30, 88], [55, 91]])
    assert figure.axes[0].get_xlabel() == "average MACs, share of dense (%)"

    runs = [("BAS", "a", False, 0.9, 2.5e9)]
    figure = draw_tradeoff(
        tradeoff_points(load_results(write(tmp_path, runs))), data=DATA, metric="accuracy"
    )
    np.testing.assert_allclose(lines_of(figure)["BAS (n = 1)"][0], [[2.5, 90]])
    assert figure.axes[0].get_xlabel() == "average MACs per image (G)"
    assert figure.axes[0].get_legend().get_title().get_text() == ""


def test_many_methods_are_told_apart(tmp_path):
    runs = [(f"m{i}", "a", False, 0.9, 2e7) for i in range(14)]
    runs += [(f"d{i}", "a", True, 0.9, 4e7) for i in range(4)]
    figure = draw_tradeoff(
        tradeoff_points(load_results(write(tmp_path, runs))), data=DATA, metric="accuracy"
    )
    looks = {
        (line.get_color(), line.get_marker(), line.get_linestyle())
        for line in (container[0] for container in figure.axes[0].containers)
    }
    assert len(looks) == 18


def test_without_an_ending_both_files_are_written(points, tmp_path):
    figure = draw_tradeoff(points, data=DATA, metric="accuracy")
    paths = save_tradeoff(figure, tmp_path / "deep" / "tradeoff")
    assert [path.name for path in paths] == ["tradeoff.png", "tradeoff.svg"]
    assert imread(paths[0]).std() > 0.05
    assert paths[1].read_text().startswith("<?xml")

    assert save_tradeoff(figure, tmp_path / "b.svg") == [tmp_path / "b.svg"]
    with pytest.raises(
        ValueError, match=r"ending in \.png or \.svg, or no ending, but got .*\.jpg"
    ):
        save_tradeoff(figure, tmp_path / "b.jpg")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(method=None, dense=None), "in {path}, but it lacks method, dense;"),
        (dict(accuracy=None), "in {path}, but it lacks accuracy or mIoU;"),
        (dict(mIoU=3.0), "in {path}, but it lacks accuracy or mIoU;"),
        (dict(data="CIFAR-10"), "data 'made-up data' as in {first}, but got 'CIFAR-10' in {path};"),
        (
            dict(accuracy=None, mIoU=50),
            "metric 'accuracy' as in {first}, but got 'mIoU' in {path};",
        ),
        (dict(accuracy=math.nan), "a finite number as accuracy in {path}, but got nan"),
        ({"macs/average": "2 G"}, "a finite number as macs/average in {path}, but got '2 G'"),
        (dict(name="bas_gamma0.05_seed0"), "each run once, but {path} has 'bas_gamma0.05_seed0'"),
    ],
)
def test_refused_files_are_named(tmp_path, changes, message):
    paths = write(tmp_path)
    change(paths[1], **changes)
    with pytest.raises(ValueError, match="expected") as error:
        load_results(paths)
    assert message.format(path=paths[1], first=paths[0]) in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_json_is_named(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"expected a result in .*a\.json, but could not read it"):
        load_results([path])
    path.write_text("[1]")
    with pytest.raises(ValueError, match=r"one run in .*a\.json, but it lacks name, method"):
        load_results([path])
    with pytest.raises(ValueError, match=r"b\.json, but could not read it"):
        load_results([tmp_path / "b.json"])
    with pytest.raises(ValueError, match="at least one result"):
        load_results([])
