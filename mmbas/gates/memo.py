"""Memory of a network: facts about the last few image sizes, or about itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MAX_VALUES = 64


class Memo(Generic[Key, Value]):
    """Values computed once for each key; forgets all when it holds too many.

    Threads may share it: at worst a value is computed twice. A copy starts empty, since what it is
    part of may be changed.

    Args:
        max_values: Number of values to keep, >= 1.
    """

    def __init__(self, max_values: int = MAX_VALUES) -> None:
        self.max_values = max_values
        self._values: dict[Key, Value] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> Memo[Key, Value]:
        return Memo(self.max_values)

    def __reduce__(self) -> tuple[type[Memo[Any, Any]], tuple[int]]:
        return Memo, (self.max_values,)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key, compute: Callable[[Key], Value]) -> Value:
        """The value of ``key``, which ``compute`` gives if it is not there."""
        try:
            return self._values[key]
        except KeyError:
            value = compute(key)
        if len(self._values) >= self.max_values:
            self._values.clear()
        self._values[key] = value
        return value
