"""Timings and peak memory that can be compared: interleaved repeats in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch.profiler import ProfilerActivity, profile


def interleaved_seconds(
    functions: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warmup: int = 2,
    settle: bool = False,
    device: str = "cpu",
) -> dict[str, list[float]]:
    """Time each function ``repeats`` times, in turns, so that drift of the machine hits all alike.

    Args:
        functions: Functions to time, by name.
        repeats: Counted calls of each, >= 1.
        warmup: Calls of each before that.
        settle: Call each once more, uncounted, before every counted call. It then finds memory
            allocator and caches as its own last call left them, as in a loop of its own; otherwise
            the one that runs after a smaller one pays for fetching memory back from the system.
        device: Where they compute; a GPU is synchronised around each call.

    Raises:
        ValueError: If repeats < 1.
    """
    if repeats < 1:
        raise ValueError(f"expected repeats >= 1, but got {repeats}")
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(warmup + repeats):
        for name, function in functions.items():
            if settle:
                function()
            _synchronize(device)
            start = time.perf_counter()
            function()
            _synchronize(device)
            if repeat >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ms(seconds: list[float]) -> float:
    """Median in milliseconds."""
    return statistics.median(seconds) * 1e3


def median_ratio(numerator: list[float], denominator: list[float]) -> float:
    """Median of the ratios of paired timings."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def peak_bytes(function: Callable[[], object], *, device: str = "cpu") -> int:
    """Most memory that torch held at once during a call, in bytes above what it held before."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    # The memory events of the public event list leave out allocations inside operators.
    results = profiler.profiler.kineto_results
    events = [event for event in results.events() if event.name() == "[memory]"]
    events.sort(
        key=lambda event: event.start_ns() if hasattr(event, "start_ns") else event.start_us()
    )
    held = peak = 0
    for event in events:
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _synchronize(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
