"""Schedules of the gate losses as pure functions of progress."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LinearWindow:
    """Factor that changes linearly inside a window and is constant outside.

    factor(t) = start_factor                                         for t <= begin
                start_factor + (end_factor - start_factor)
                * (t - begin) / (end - begin)                        for begin < t < end
                end_factor                                           for t >= end

    Attributes:
        begin: Start of the window, in epochs or iterations, >= 0.
        end: End of the window, >= begin; equal to begin, the factor steps at t = begin.
        start_factor: Factor before the window, in [0, 1].
        end_factor: Factor after the window, in [0, 1].

    Example:
        >>> from mmbas.hooks import LinearWindow
        >>> window = LinearWindow(begin=100, end=300, start_factor=0.0, end_factor=1.0)
        >>> [window.factor(epoch) for epoch in (0, 100, 150, 300, 500)]
        [0.0, 0.0, 0.25, 1.0, 1.0]

    Source:
        Bejnordi et al., ICLR 2020, section 5: lambda falls from full to 0 over epochs 0 to 100 of
        CIFAR-10, gamma rises from 0 to full over epochs 100 to 300.
    """

    begin: float
    end: float
    start_factor: float
    end_factor: float

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.end:
            raise ValueError(
                f"expected a window with 0 <= begin <= end, but got begin={self.begin}, "
                f"end={self.end}"
            )
        for name in ("start_factor", "end_factor"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"expected {name} in [0, 1], but got {value}")

    def factor(self, progress: float) -> float:
        """Factor at ``progress``, in the unit of the window."""
        if progress >= self.end:
            return self.end_factor
        if progress <= self.begin:
            return self.start_factor
        share = (progress - self.begin) / (self.end - self.begin)
        return self.start_factor + (self.end_factor - self.start_factor) * share
