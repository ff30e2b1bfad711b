"""Figure 7: rarely open gates, the classes that trigger them, example images."""

from dataclasses import asdict

import torch
from analysis.profiles import profile_of

from mmbas.analysis.rare_gates import TriggeringClass, rare_gates, rare_gates_figure

# 20 images, every other one a dog. Layer a: gate 0 is open for images 0 to 4 (25 %), gate 1 for
# 1, 3, 5 (15 %: the rarest of the layer), gate 2 for all. Layer b: gate 3 is open for 2 images (too
# few), gate 4 for 0, 1, 2, 3. Layer c: gate 5 is open for 6 images (30 %: not rare).
OPEN = [range(5), (1, 3, 5), range(20), (0, 1), range(4), range(6)]
PROFILE = profile_of(
    [[image in images for images in OPEN] for image in range(20)],
    layers={"a": 3, "b": 2, "c": 1},
    labels=[(image % 2,) for image in range(20)],
    classes=("cat", "dog"),
)


def test_rare_gates_by_hand():
    first, second = rare_gates(PROFILE)
    assert asdict(first) == dict(
        layer="a",
        gate=1,
        open_rate=0.15,
        num_open=3,
        classes=[dict(name="dog", open_rate=0.3, num_open=3, num_images=10)],
        examples=[1, 3, 5],
    )
    assert (second.layer, second.gate, second.num_open) == ("b", 1, 4)
    assert [entry.name for entry in second.classes] == ["cat", "dog"]
    assert second.classes[0] == TriggeringClass("cat", 0.2, 2, 10)


def test_the_rarest_are_kept_in_network_order():
    (only,) = rare_gates(PROFILE, most=1)
    assert (only.layer, only.gate) == ("a", 1)


def test_the_class_with_the_higher_rate_comes_first_and_of_equals_the_rarer_one():
    # gate 0 is open for both images of class 1, for 2 of 3 of class 0 and for all of class 2
    profile = profile_of(
        [[1], [1], [0], [1]] + [[0]] * 8,
        layers={"a": 1},
        labels=[(0, 1, 2), (0, 1), (0,), (2,)] + [(3,)] * 8,
        classes=("many", "two", "all", "never"),
    )
    (gate,) = rare_gates(profile)
    names = [(entry.name, round(entry.open_rate, 3)) for entry in gate.classes]
    assert names == [("two", 1.0), ("all", 1.0), ("many", 0.667)]


def test_nothing_rare():
    assert rare_gates(profile_of([[1, 0]] * 5, layers={"a": 2})) == []


def test_picture_shows_bars_and_the_right_images():
    # image i has the grey value 10 i
    dataset = [dict(inputs=torch.full((3, 4, 4), 10 * i, dtype=torch.uint8)) for i in range(20)]
    figure = rare_gates_figure(rare_gates(PROFILE), dataset, bgr=False)
    bars = [axis for axis in figure.axes if axis.containers]
    assert [bar.get_width() for bar in bars[1].containers[0]] == [20, 20]
    pictures = [axis.images[0].get_array()[0, 0, 0] for axis in figure.axes if axis.images]
    assert pictures == [10, 30, 50, 0, 10, 20, 30]
