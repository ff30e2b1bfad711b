"""What a network knows of each image size, for the last few sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Size = tuple[int, int]
Value = TypeVar("Value")

MAX_SIZES = 64


class SizeCache(Generic[Value]):
    """Values by height and width, computed once; forgets all when it holds too many.

    Threads may share it: at worst a value is computed twice. A copy starts empty, since what it is
    part of may be changed.

    Args:
        max_sizes: Number of sizes to keep, >= 1.
    """

    def __init__(self, max_sizes: int = MAX_SIZES) -> None:
        self.max_sizes = max_sizes
        self._values: dict[Size, Value] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> SizeCache[Value]:
        return SizeCache(self.max_sizes)

    def __reduce__(self) -> tuple[type[SizeCache[Value]], tuple[int]]:
        return SizeCache, (self.max_sizes,)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, size: Size, compute: Callable[[Size], Value]) -> Value:
        """The value of ``size``, which ``compute`` gives if it is not there."""
        try:
            return self._values[size]
        except KeyError:
            value = compute(size)
        if len(self._values) >= self.max_sizes:
            self._values.clear()
        self._values[size] = value
        return value
