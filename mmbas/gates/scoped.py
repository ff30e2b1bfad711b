"""Values that hold for the code inside a ``with`` statement, and for nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Scoped(Generic[Value]):
    """Values of the ``with`` statements that the running code is in, the outermost first.

    Each thread and each task of asyncio has its own. A task or a generator may outlive the
    statement it was started in, and generators may end in any order: a value is gone for all of
    them when its statement ends.

    Args:
        name: Name for printing.
    """

    def __init__(self, name: str) -> None:
        # Each value stands in a list of its own, which is emptied when its statement ends.
        self._entries: ContextVar[tuple[list[Value], ...]] = ContextVar(name, default=())

    def values(self) -> list[Value]:
        """The values that hold now."""
        return [value for entry in self._entries.get() for value in entry]

    @contextmanager
    def holding(self, value: Value) -> Iterator[None]:
        """Add a value inside the statement."""
        entry = [value]
        self._entries.set((*self._entries.get(), entry))
        try:
            yield
        finally:
            entry.clear()
            # Others that have ended are dropped too: their statements may have ended elsewhere.
            self._entries.set(tuple(each for each in self._entries.get() if each))
