"""Results of a network as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def tensors_of(outputs: Any) -> tuple[Tensor, ...]:
    """The outputs of a network that returns a tensor or a sequence of them.

    Raises:
        ValueError: If it returns anything else, such as the lists of a detector.
    """
    if isinstance(outputs, Tensor):
        return (outputs,)
    if isinstance(outputs, Sequence) and outputs and all(isinstance(x, Tensor) for x in outputs):
        return tuple(outputs)
    what = type(outputs).__name__
    if isinstance(outputs, Sequence):
        what += " of " + ", ".join(sorted({type(x).__name__ for x in outputs}) or ["nothing"])
    raise ValueError(
        f"expected a network that returns a tensor or a sequence of tensors, but got {what}; time "
        "its backbone by itself, in a config whose model it is"
    )


def last_of(outputs: Any) -> Tensor:
    """A network's output, the last if there are several, as float32."""
    if isinstance(outputs, Tensor):
        return outputs.float()
    return torch.as_tensor(list(outputs)[-1]).float()


def relative_difference(outputs: Any, reference: Any) -> float:
    """Largest difference of the last outputs, over the largest value of the reference."""
    expected, actual = last_of(reference).cpu(), last_of(outputs).cpu()
    return float((actual - expected).abs().max() / expected.abs().max())
