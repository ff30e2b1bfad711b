"""MACs of a model with all gates open, counted on one image of a training batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmbas.costs import count_macs


@torch.no_grad()
def count_dense_macs(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Dense MACs of a batch's first image, by ``model(..., mode="tensor")`` in evaluation mode.

    Args:
        model: A model of a host.
        args: Positional arguments of its forward pass for a batch, with the images among them.
            Data samples go along: two-stage detectors read the sizes of the images there.
        kwargs: Named arguments.
    """
    num_images = len(first_tensor([*args, *kwargs.values()]))
    modes = {module: module.training for module in model.modules()}
    try:
        with count_macs(model.eval()) as count:
            model(
                *(_first_of(value, num_images) for value in args),
                **{name: _first_of(value, num_images) for name, value in kwargs.items()},
                mode="tensor",
            )
    finally:
        for module, training in modes.items():
            module.training = training
    return count.dense_macs(num_images=1)


def first_tensor(values: Sequence[Any]) -> Tensor:
    """The first tensor among some values: the images of a batch.

    Raises:
        TypeError: If there is none.
    """
    for value in values:
        if isinstance(value, Tensor):
            return value
    raise TypeError(
        "expected the images of a batch as one tensor, but got "
        f"{[type(value).__name__ for value in values]}; let the data preprocessor stack them"
    )


def _first_of(value: Any, num_images: int) -> Any:
    """The part of an argument that belongs to the first image; the whole if it has no such part."""
    if isinstance(value, Tensor | list | tuple) and len(value) == num_images:
        return value[:1]
    return value
