"""Figure 1b: which gates are shown, and their histograms."""

import numpy as np
import pytest
from analysis.profiles import profile_of

from mmbas.analysis.prob_histograms import (
    prob_histograms,
    prob_histograms_figure,
    select_gates,
)

EARLY = profile_of(
    [[1, 1], [0, 1]], probs=[[0.72, 0.81], [0.31, 0.92]], layers={"layer1.0": 1, "layer2.0": 1}
)
LATE = profile_of(
    [[1, 1], [1, 0]], probs=[[0.99, 0.62], [0.97, 0.33]], layers={"layer1.0": 1, "layer2.0": 1}
)


def test_gates_on_conditional_and_off_are_selected():
    rates = np.array([0.3, 0.02, 0.58, 0.97, 0.97, 0.55])
    assert select_gates(rates) == [3, 2, 0, 1]


def test_no_gate_is_selected_twice():
    assert sorted(select_gates(np.array([1.0, 1.0, 1.0, 1.0, 1.0]))) == [0, 1, 2, 3]
    assert select_gates(np.array([0.4, 0.9])) == [1, 0]


def test_histograms_by_hand():
    first, second = prob_histograms({"epoch 1": EARLY, "epoch 9": LATE})
    # in the last checkpoint gate 0 is always open and comes first, in the other one it is gate 1
    assert (first.layer, first.gate, second.layer, second.gate) == ("layer1.0", 0, "layer2.0", 0)
    assert first.checkpoints == ["epoch 1", "epoch 9"]
    assert first.open_rates == [0.5, 1.0]
    assert second.open_rates == [1.0, 0.5]
    # 20 bins of 0.05: 0.31 is in bin 6, 0.72 in bin 14, 0.97 and 0.99 in the last
    assert {bin_: share for bin_, share in enumerate(first.shares[0]) if share} == {6: 0.5, 14: 0.5}
    assert {bin_: share for bin_, share in enumerate(first.shares[1]) if share} == {19: 1.0}


def test_chosen_gates():
    (only,) = prob_histograms({"now": LATE}, [1])
    assert (only.layer, only.gate, only.open_rates) == ("layer2.0", 0, [0.5])


def test_checkpoints_of_different_networks_are_refused():
    other = profile_of([[1, 1]], layers={"layer1.0": 2})
    with pytest.raises(ValueError, match="expected checkpoints of one network"):
        prob_histograms({"a": EARLY, "b": other})


def test_picture_has_a_panel_per_gate_and_at_most_six_checkpoints():
    histograms = prob_histograms({f"epoch {i}": LATE for i in range(11)})
    figure = prob_histograms_figure(histograms)
    titles = [axis.get_title() for axis in figure.axes]
    assert len(titles) == 2 * 6
    assert [title.split("\n")[0] for title in titles[:6]] == [
        f"epoch {i}" for i in (0, 2, 4, 6, 8, 10)
    ]
    heights = figure.axes[0].patches[0].get_data().values
    assert heights[19] == 100
    assert heights.sum() == 100
