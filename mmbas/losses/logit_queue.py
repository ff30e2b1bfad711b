"""The most recent gate logits, for ranking small batches among more values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class LogitQueue(nn.Module):
    """The last ``size`` values of every gate, oldest first; part of the module's state.

    Args:
        size: Number of images to keep, > 0.

    Note:
        The state is no buffer, since wrappers such as DDP expect buffers of constant shape. It is
        in the state dict all the same, so averaging that as a whole (mmengine's ``EMAHook`` with
        ``update_buffers=True``) fails while the queue fills.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self._values = torch.empty(0, 0)

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
        """The values, which are part of a checkpoint."""
        return self._values

    def set_extra_state(self, state: Any) -> None:
        """Restore the values, the newest ones if they were more."""
        if not isinstance(state, Tensor) or state.ndim != 2:
            raise ValueError(f"expected the queue's state to be a 2-D tensor, but got {state!r}")
        self._values = state.detach()[-self.size :].clone()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        # A queue fills by itself: a checkpoint without one is no error, even in strict loading.
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, False, missing_keys, unexpected_keys, error_msgs
        )
