"""The most recent gate logits, for ranking small batches among more values."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmbas.losses.batch_shaping.optional_state import OptionalState


class LogitQueue(OptionalState):
    """The last ``size`` values of every gate, oldest first; part of the module's state.

    Args:
        size: Number of images to keep, > 0.

    Note:
        The state is no buffer: what synchronises or averages buffers must leave it alone. It is in
        the state dict all the same, where averaging (mmengine's ``EMAHook``) needs a constant
        shape; see :meth:`reserve`. Averaged weights come with an empty queue.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self._values = torch.empty(0, 0, dtype=torch.float32, device="cpu")
        self._num_gates: int | None = None

    def reserve(self, num_gates: int) -> None:
        """Give the state its final shape (size, num_gates) now, not when the queue is full."""
        self._num_gates = num_gates

    def __len__(self) -> int:
        return len(self._values)

    def values_for(self, gate_logits: Tensor) -> Tensor:
        """The values to rank a batch among.

        Args:
            gate_logits: The batch, shape (N, G).

        Returns:
            Shape (R, G) with R <= size, on the device of the batch; R = 0 at first.

        Raises:
            ValueError: If the queue was filled by a network with another number of gates.
        """
        num_gates = gate_logits.shape[1]
        if len(self) == 0:
            return gate_logits.new_empty((0, num_gates))
        if self._values.shape[1] != num_gates:
            raise ValueError(
                f"expected logits of {self._values.shape[1]} gates, as in the queue of earlier "
                f"batches, but got {num_gates}; use one loss module for each network, and for a "
                "checkpoint of another network leave out its queue"
            )
        self._values = self._values.to(gate_logits.device)
        return self._values

    def push(self, gate_logits: Tensor) -> None:
        """Append a batch, shape (N, G), without its gradient, and forget the oldest values."""
        older = self.values_for(gate_logits)
        newest = gate_logits.detach()[-self.size :]
        # A new tensor: the one given out before must not change.
        self._values = torch.cat([older[max(0, len(older) + len(newest) - self.size) :], newest])

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return f"size={self.size}"

    def get_extra_state(self) -> Tensor:
        """The values, which are part of a checkpoint; rows not filled yet are infinite."""
        if self._num_gates is None or (len(self) and self._values.shape[1] != self._num_gates):
            return self._values
        empty = self._values.new_full((self.size - len(self), self._num_gates), math.inf)
        return torch.cat([empty, self._values.reshape(len(self), self._num_gates)])

    def set_extra_state(self, state: Any) -> None:
        """Restore the values, the newest ones if they were more."""
        if not isinstance(state, Tensor) or state.ndim != 2:
            raise ValueError(f"expected the queue's state to be a 2-D tensor, but got {state!r}")
        filled = state[state.isfinite().all(dim=1)]
        self._values = filled.detach()[-self.size :].clone()
