"""Figure 5: shares of gates per layer."""

from dataclasses import asdict

import pytest
from analysis.profiles import profile_of

from mmbas.analysis.layer_shares import layer_shares, layer_shares_figure

# 200 images, two layers. Layer a: one gate always open, one open for 1 of 200 (0.5 %: always off).
# Layer b: open for 100, for 2 (1 %: conditional), for 199 (99.5 %: always on), for none.
GATES = [[1, i == 0, i < 100, i < 2, i > 0, 0] for i in range(200)]


def test_shares_by_hand():
    a, b, total = layer_shares(profile_of(GATES, layers={"a": 2, "b": 4}))
    assert asdict(a) == dict(
        layer="a",
        num_gates=2,
        open_rate=pytest.approx((1 + 1 / 200) / 2),
        mean_prob=pytest.approx((1 + 1 / 200) / 2),
        always_on=0.5,
        conditional=0.0,
        always_off=0.5,
    )
    assert (b.always_on, b.conditional, b.always_off) == (0.25, 0.5, 0.25)
    assert (total.layer, total.num_gates) == ("all layers", 6)
    assert (total.always_on, total.conditional, total.always_off) == (2 / 6, 2 / 6, 2 / 6)
    assert total.open_rate == pytest.approx((200 + 1 + 100 + 2 + 199 + 0) / 1200)


def test_bars_are_the_shares():
    rows = layer_shares(profile_of(GATES, layers={"a": 2, "b": 4}))
    figure = layer_shares_figure({"BAS": rows, "L0": rows})
    assert [axis.get_title() for axis in figure.axes] == ["BAS", "L0"]
    for axis in figure.axes:
        on, conditional, off = axis.containers
        assert [bar.get_width() for bar in on] == pytest.approx([50, 25, 100 / 3])
        assert [bar.get_width() for bar in conditional] == pytest.approx([0, 50, 100 / 3])
        assert [bar.get_x() for bar in off] == pytest.approx([50, 75, 200 / 3])
        assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b", "all layers"]
