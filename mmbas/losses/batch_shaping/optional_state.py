"""State of losses that belongs into a checkpoint, but that no checkpoint needs to have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class OptionalState(nn.Module):
    """A module whose state fills by itself: a checkpoint without it is no error."""

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
        # Not strict, even in strict loading.
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, False, missing_keys, unexpected_keys, error_msgs
        )


class StepCount(OptionalState):
    """Number of training steps so far, on the CPU, where reading it waits for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def get_extra_state(self) -> Tensor:
        """The number, which is part of a checkpoint."""
        return torch.tensor(self.count)

    def set_extra_state(self, state: Any) -> None:
        """Restore the number."""
        self.count = int(state)
