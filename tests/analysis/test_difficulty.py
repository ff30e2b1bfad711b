"""Do hard images use more MACs: the correlation against scipy, its interval, the groups."""

import math

import numpy as np
import pytest
import scipy.stats
from analysis.profiles import profile_of

from mmbas.analysis.difficulty import difficulty, difficulty_figure, rank_correlation, spearman
from mmbas.analysis.gate_report import verdict


def profile_with(images):
    return profile_of([[1]] * len(images), layers={"a": 1}, images=images)


def test_spearman_by_hand():
    # ranks 1 2 3 4 and 2 1 4 3: 1 - 6 (1 + 1 + 1 + 1) / (4 * 15) = 0.6
    x, y = np.array([1.0, 5.0, 7.0, 100.0]), np.array([0.2, 0.1, 0.9, 0.8])
    assert spearman(x, y) == pytest.approx(0.6)
    assert math.isnan(spearman(x, np.ones(4)))


def test_spearman_is_scipys_with_ties():
    random = np.random.default_rng(0)
    x, y = random.random(200), random.integers(0, 5, 200).astype(float)
    assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)


def test_interval_is_that_of_scipys_bootstrap():
    random = np.random.default_rng(1)
    x = random.random(150)
    y = x + random.normal(0, 0.5, 150)
    ours = rank_correlation(x, y, resamples=2000)
    scipys = scipy.stats.bootstrap(
        (x, y), spearman, paired=True, vectorized=False, n_resamples=2000, method="percentile"
    ).confidence_interval
    # two bootstraps differ by their draws: the ends have a standard error of about 0.004
    assert ours.low == pytest.approx(scipys.low, abs=0.03)
    assert ours.high == pytest.approx(scipys.high, abs=0.03)
    assert ours.low < ours.rho < ours.high
    assert rank_correlation(x, y, resamples=50) == rank_correlation(x, y, resamples=50)


def test_difficulty_by_hand():
    # 20 images: those with the higher loss use more MACs; the two hardest are wrong
    images = [(40.0 + i, float(i < 18), 0.1 * i) for i in range(20)]
    result = difficulty(profile_with(images), resamples=100)
    assert result.with_loss.rho == pytest.approx(1)
    assert (result.with_loss.num_images, result.with_loss.resamples) == (20, 100)
    assert result.with_correct.rho < 0
    # two groups of ten images: mean losses 0.45 and 1.45, MACs 44.5 and 54.5 of 100
    assert result.bins == [
        (pytest.approx(0.45), pytest.approx(0.445), 10),
        (pytest.approx(1.45), pytest.approx(0.545), 10),
    ]
    assert result.by_correct == {
        "wrong": (pytest.approx(0.585), 2),
        "right": (pytest.approx((40 + 57) / 200), 18),
    }
    assert verdict(result.with_loss) == (
        "Yes: the rank correlation of MACs and loss is 1.00 (1.00 to 1.00)."
    )


def test_groups_are_made_by_loss():
    # the higher the loss, the fewer the MACs
    result = difficulty(profile_with([(60.0 - i, 1.0, 0.1 * i) for i in range(20)]), resamples=10)
    assert result.bins == [
        (pytest.approx(0.45), pytest.approx(0.555), 10),
        (pytest.approx(1.45), pytest.approx(0.455), 10),
    ]


def test_images_without_ground_truth_are_left_out():
    images = [(50.0, math.nan, math.nan), (60.0, 1.0, 0.1), (70.0, 1.0, 0.2)]
    assert difficulty(profile_with(images), resamples=10).with_loss.num_images == 2
    assert difficulty(profile_with(images[:1])) is None


def test_everything_right_leaves_the_correlation_undefined():
    result = difficulty(profile_with([(50.0 + i, 1.0, 0.1) for i in range(4)]), resamples=10)
    assert math.isnan(result.with_correct.rho)
    assert verdict(result.with_loss).startswith("Not defined")


@pytest.mark.parametrize("sign", [1, -1])
def test_verdict_names_the_direction(sign):
    random = np.random.default_rng(0)
    hard = random.random(200)
    images = [(50 + sign * 20 * h, 1 - h, h) for h in hard]
    result = difficulty(profile_with(images), resamples=50)
    assert verdict(result.with_loss).startswith("Yes" if sign > 0 else "No, they use fewer")
    unrelated = rank_correlation(hard, random.random(200), resamples=200)
    assert verdict(unrelated).startswith("Not seen")
    # pixel accuracies are no yes or no
    assert result.by_correct == {}


@pytest.mark.parametrize("num_images", [5, 200, 4000])
@pytest.mark.parametrize("binary", [True, False])
def test_picture_shows_all_images(num_images, binary):
    random = np.random.default_rng(0)
    correct = random.random(num_images)
    images = [
        (50.0 + i % 7, float(c > 0.5) if binary else c, float(-np.log(c)))
        for i, c in enumerate(correct)
    ]
    profile = profile_with(images)
    result = difficulty(profile, resamples=10)
    left, right = difficulty_figure(profile, result).axes
    if num_images == 4000:
        assert left.collections[0].get_array().sum() == pytest.approx(num_images)
    else:
        assert len(left.lines[0].get_xdata()) == num_images
    assert right.get_xlabel() == ("prediction" if binary else "pixels right (%)")
