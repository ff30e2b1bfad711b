"""Figure 6: filters by class, and how far classes are apart."""

import numpy as np
import pytest
from analysis.profiles import profile_of

from mmbas.analysis.class_histograms import (
    class_distances,
    class_distances_figure,
    class_histograms,
    class_histograms_figure,
    comparable_classes,
    extreme_pairs,
    similarity_order,
    telling_classes,
    telling_layers,
)

# Two images of each of two classes; class "none" has no images. Layer b holds gates 1 to 3.
PROFILE = profile_of(
    [[1, 0, 1, 0], [1, 0, 1, 1], [1, 1, 1, 0], [0, 1, 1, 0]],
    layers={"a": 1, "b": 3},
    labels=[(0,), (0,), (1,), (1,)],
    classes=("cat", "dog", "none"),
)


def test_class_rates_by_hand():
    rates = PROFILE.class_rates
    assert rates[0].tolist() == [1.0, 0.0, 1.0, 0.5]
    assert rates[1].tolist() == [0.5, 1.0, 1.0, 0.0]
    assert np.isnan(rates[2]).all()


def test_distances_by_hand():
    distances = class_distances(PROFILE.class_rates)
    # |1 - 0.5|, |0 - 1|, |1 - 1|, |0.5 - 0| have the mean 0.5
    assert distances[0, 1] == distances[1, 0] == 0.5
    assert distances[0, 0] == distances[1, 1] == 0
    assert np.isnan(distances[2]).all()


def test_filters_are_sorted_over_the_whole_set():
    (histogram,) = class_histograms(PROFILE, layers=["b"], classes=[0, 1])
    # over all images the gates of layer b are open for 2, 4 and 1 of 4
    assert histogram.order == [1, 0, 2]
    assert histogram.overall == [1.0, 0.5, 0.25]
    assert histogram.classes == ["cat", "dog"]
    assert histogram.rates == [[1.0, 0.0, 0.5], [1.0, 1.0, 0.0]]


def test_an_image_counts_for_each_of_its_classes():
    profile = profile_of(
        [[1, 0], [0, 1]], layers={"a": 2}, labels=[(0, 1), (1,)], classes=("road", "car")
    )
    assert profile.class_rates.tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_classes_in_every_image_are_not_compared():
    profile = profile_of(
        [[1], [0], [1]],
        layers={"a": 1},
        labels=[(0, 1), (0, 2), (0, 1)],
        classes=("road", "car", "tree", "none"),
    )
    assert comparable_classes(profile) == [1, 2]
    assert comparable_classes(PROFILE) == [0, 1]


POINTS = np.array([0.0, 10.0, 1.0, 30.0, 31.5, 60.0])
APART = np.abs(POINTS[:, None] - POINTS)


def test_telling_classes_by_hand():
    # 0 and 2 are nearest; 5 is farthest from both; of the rest 3 is 29 from its nearest, 2, and 4
    # is 28.5 from its nearest, 5
    assert telling_classes(APART, range(6)) == [0, 2, 5, 3]
    assert telling_classes(APART, [1, 3, 4, 5]) == [1, 3, 4, 5]


def test_extreme_pairs_by_hand():
    assert extreme_pairs(APART, range(6)) == ((0, 2), (0, 5))
    assert extreme_pairs(APART, [1, 3, 4]) == ((3, 4), (1, 4))


def test_similar_classes_stand_together():
    order = similarity_order(APART)
    assert sorted(order) == list(range(6))
    places = {label: place for place, label in enumerate(order)}
    assert abs(places[0] - places[2]) == abs(places[3] - places[4]) == 1
    assert {places[0], places[1], places[2]} in ({0, 1, 2}, {3, 4, 5})
    missing = np.full((4, 4), np.nan)
    missing[np.ix_([0, 2], [0, 2])] = 0
    assert similarity_order(missing) == [0, 2]


def test_layers_of_each_quarter_with_most_conditional_gates():
    # Layers of one gate: those named y are open for half of the images, the others for all.
    names = ["x0", "y0", "x1", "x2", "y1", "x3", "x4", "y2"]
    gates = [[name[0] == "x" or image == 0 for name in names] for image in range(2)]
    profile = profile_of(gates, layers=dict.fromkeys(names, 1))
    assert telling_layers(profile) == ["y0", "x1", "y1", "y2"]
    assert telling_layers(PROFILE) == ["a", "b"]


def test_pictures_show_the_numbers():
    histograms = class_histograms(PROFILE, layers=["a", "b"], classes=[0, 1])
    figure = class_histograms_figure(histograms)
    assert len(figure.axes) == 4
    bars, line = figure.axes[1].patches
    assert bars.get_data().values.tolist() == [100, 0, 50]
    assert line.get_data().values.tolist() == [100, 50, 25]
    matrix = class_distances_figure(class_distances(PROFILE.class_rates), PROFILE.classes)
    assert matrix.axes[0].images[0].get_array().tolist() == [[0, 50], [50, 0]]
    assert [text.get_text() for text in matrix.axes[0].texts] == ["0", "50", "50", "0"]


def test_many_classes_are_drawn_without_labels():
    points = np.random.default_rng(0).random(60)
    figure = class_distances_figure(np.abs(points[:, None] - points), [str(i) for i in range(60)])
    assert figure.axes[0].get_xticklabels() == []
    assert figure.axes[0].images[0].get_array().max() == pytest.approx(100 * np.ptp(points))
