"""Timings and peak memory on things whose answer is known."""

import time

import pytest
import torch

from mmbas.measure.timing import interleaved_seconds, median_ms, median_ratio, peak_bytes


def test_functions_run_in_turns():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    seconds = interleaved_seconds(functions, repeats=3, warmup=1)
    assert calls == ["a", "b"] * 4
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_settling_calls_come_before_counted_ones():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    seconds = interleaved_seconds(functions, repeats=2, warmup=0, settle=True)
    assert calls == ["a", "a", "b", "b"] * 2
    assert len(seconds["a"]) == 2


def test_sleep_is_measured():
    seconds = interleaved_seconds({"sleep": lambda: time.sleep(0.02)}, repeats=3)
    assert min(seconds["sleep"]) >= 0.02


def test_medians_by_hand():
    assert median_ms([0.001, 0.005, 0.002]) == pytest.approx(2)
    assert median_ratio([2.0, 3.0, 8.0], [1.0, 1.0, 2.0]) == pytest.approx(3)


def test_peak_counts_what_is_held_at_once():
    mib = 2**20

    def two_then_one():
        first = torch.empty(4 * mib, dtype=torch.uint8)
        second = torch.empty(2 * mib, dtype=torch.uint8)
        del first, second
        torch.empty(3 * mib, dtype=torch.uint8)

    assert peak_bytes(two_then_one) == pytest.approx(6 * mib, rel=0.01)


def test_no_repeats_are_refused():
    with pytest.raises(ValueError, match="expected repeats >= 1, but got 0"):
        interleaved_seconds({}, repeats=0)
