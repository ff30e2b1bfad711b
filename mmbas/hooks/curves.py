"""Values that change over training, as pure functions of progress."""

from __future__ import annotations

import math
from dataclasses import dataclass

SHAPES = ("linear", "exponential", "cosine", "steps")


@dataclass(frozen=True)
class Curve:
    """Value that goes from one number to another inside a window and is constant outside.

    With s the share of the window that has passed::

        linear       start + (stop - start) * s
        exponential  start * (stop / start) ** s
        cosine       start + (stop - start) * sin(pi / 2 * s) ** 2
        steps        linear in s rounded down to a multiple of 1 / num_steps

    Attributes:
        begin: Start of the window, in epochs or iterations, >= 0.
        end: End of the window, >= begin; equal to begin, the value changes at once.
        start: Value before the window.
        stop: Value after the window.
        shape: ``'linear'``, ``'exponential'``, ``'cosine'`` or ``'steps'``.
        num_steps: Number of equal steps, >= 1, for ``'steps'``.

    Example:
        >>> from mmbas.hooks import Curve
        >>> curve = Curve(begin=0, end=100, start=1.0, stop=0.5, shape="steps", num_steps=5)
        >>> [round(curve.value(epoch), 2) for epoch in (0, 19, 20, 99, 100)]
        [1.0, 1.0, 0.9, 0.6, 0.5]
        >>> round(Curve(begin=0, end=10, start=5.0, stop=0.1, shape="exponential").value(5), 3)
        0.707
    """

    begin: float
    end: float
    start: float
    stop: float
    shape: str = "linear"
    num_steps: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.end:
            raise ValueError(
                f"expected a window with 0 <= begin <= end, but got begin={self.begin}, "
                f"end={self.end}"
            )
        if self.shape not in SHAPES:
            raise ValueError(f"expected shape to be one of {SHAPES}, but got {self.shape!r}")
        if self.shape == "exponential" and not (self.start > 0 and self.stop > 0):
            raise ValueError(
                f"expected an exponential curve between positive values, but got {self.start} and "
                f"{self.stop}"
            )
        if self.num_steps < 1:
            raise ValueError(f"expected num_steps >= 1, but got {self.num_steps}")

    def value(self, progress: float) -> float:
        """Value at ``progress``, in the unit of the window."""
        if progress >= self.end:
            return self.stop
        if progress <= self.begin:
            return self.start
        share = (progress - self.begin) / (self.end - self.begin)
        if self.shape == "exponential":
            return self.start * (self.stop / self.start) ** share
        if self.shape == "cosine":
            share = math.sin(math.pi / 2 * share) ** 2
        elif self.shape == "steps":
            share = math.floor(share * self.num_steps) / self.num_steps
        return self.start + (self.stop - self.start) * share
