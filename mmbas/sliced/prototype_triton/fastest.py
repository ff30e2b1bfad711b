"""Choose by a small one-off timing on the device at hand."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from triton.runtime.errors import OutOfResources
from triton.testing import do_bench

from mmbas.sliced.prototype_triton.support import interpreted

CALLS = 20  # back to back
Choice = TypeVar("Choice")


def timing_possible(device: torch.device) -> bool:
    """Tell whether there is a GPU to time: not in the interpreter.

    Raises:
        RuntimeError: If a CUDA graph is being captured; timing synchronises.
    """
    if interpreted() or device.type != "cuda":
        return False
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "expected a shape whose kernels are chosen already, but a CUDA graph is being "
            "captured; call the model once with this shape before the capture"
        )
    return True


def gpu_ms(call: Callable[[], object]) -> float:
    """Median time of a call on the GPU alone, its cache cold, in ms; right for one kernel."""
    return do_bench(call, warmup=5, rep=20, return_mode="median")


def call_ms(call: Callable[[], object]) -> float:
    """Time per call, back to back, in ms: that of the host where it is the slower of the two."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for timed in (False, True):
        if timed:
            torch.cuda.synchronize()
            start.record()
        for _ in range(CALLS):
            call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / CALLS


def fastest(
    candidates: Mapping[Choice, Callable[[], object]], time: Callable[[Callable[[], object]], float]
) -> Choice:
    """The candidate with the least time on the current GPU.

    Args:
        candidates: Functions to call; one that asks for more than the GPU has is passed over.
        time: :func:`gpu_ms` or :func:`call_ms`.

    Raises:
        RuntimeError: If none of them runs.
    """
    milliseconds: dict[Choice, float] = {}
    for choice, call in candidates.items():
        try:
            milliseconds[choice] = time(call)
        except OutOfResources:
            continue
    if not milliseconds:
        raise RuntimeError(
            f"expected one of {list(candidates)} to run on {torch.cuda.get_device_name()}, but "
            "none does; use another path"
        )
    return min(milliseconds, key=milliseconds.__getitem__)
