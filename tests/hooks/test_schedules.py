"""The schedule of the gate losses as a written table."""

import pytest

from mmbas.hooks import LinearWindow


@pytest.mark.parametrize(
    ("epoch", "bas", "l0"),
    [
        # Section 5 of the paper, CIFAR-10: lambda 1 -> 0 over 0-100, gamma 0 -> 1 over 100-300
        (0, 1.0, 0.0),
        (25, 0.75, 0.0),
        (99.5, 0.005, 0.0),
        (100, 0.0, 0.0),
        (150, 0.0, 0.25),
        (200, 0.0, 0.5),
        (300, 0.0, 1.0),
        (499, 0.0, 1.0),
    ],
)
def test_cifar10_table(epoch, bas, l0):
    assert LinearWindow(0, 100, 1.0, 0.0).factor(epoch) == pytest.approx(bas)
    assert LinearWindow(100, 300, 0.0, 1.0).factor(epoch) == pytest.approx(l0)


def test_empty_window_steps_at_its_begin():
    window = LinearWindow(begin=10, end=10, start_factor=0.0, end_factor=1.0)
    assert [window.factor(t) for t in (9.99, 10, 11)] == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 5, 0, 1), "0 <= begin <= end, but got begin=10, end=5"),
        ((-1, 5, 0, 1), "0 <= begin <= end"),
        ((0, 5, -0.1, 1), r"start_factor in \[0, 1\], but got -0.1"),
        ((0, 5, 0, 1.5), r"end_factor in \[0, 1\], but got 1.5"),
    ],
)
def test_bad_windows(arguments, message):
    with pytest.raises(ValueError, match=message):
        LinearWindow(*arguments)
