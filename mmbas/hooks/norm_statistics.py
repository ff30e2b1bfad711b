"""Statistics of batch normalisation gathered anew, with the gates of evaluation.

In training, gates are drawn with noise and weights move, so the running statistics that evaluation
uses are those of other feature maps than it sees. Gathering them anew for fixed weights is the
"precise BN" of Y. Wu, J. Johnson: Rethinking "Batch" in BatchNorm, 2021,
https://arxiv.org/abs/2105.07576. Not part of the batch-shaping paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbas.gates import named_gates

Batch = TypeVar("Batch")


@torch.no_grad()
def recalibrate_norms(
    model: nn.Module, batches: Iterable[Batch], forward: Callable[[Batch], Any]
) -> int:
    """Replace the running statistics of ``model`` by those over ``batches``; in place.

    Mean and variance are those over all values of all batches: each layer's variance is the one
    within batches plus that between their means. While they are gathered each batch is normalised
    with its own statistics, as in training, and everything else is in evaluation mode: gates
    decide without noise, with the statistics of their own norm layers, which stay as they are.

    Layers keep their statistics if training would not change them (``norm_eval``, frozen stages),
    or if ``forward`` does not reach them. The mode of every module is as before.

    Args:
        model: Not wrapped for several processes; their statistics are put together.
        batches: Some thousand images in batches of the size of training.
        forward: Runs the model on a batch.

    Returns:
        The number of layers with new statistics.
    """
    modes = {module: module.training for module in model.modules()}
    own = {module for gate in named_gates(model).values() for module in gate.modules()}
    norms = [
        module
        for module in model.train().modules()
        if isinstance(module, _BatchNorm)
        and module.training
        and module.track_running_stats
        and module not in own
    ]
    model.eval()
    try:
        with _gathering(norms) as sums:
            for batch in batches:
                forward(batch)
    finally:
        for module, training in modes.items():
            module.training = training
    return sum(_set_statistics(norm, sums[norm]) for norm in norms)


@contextmanager
def _gathering(norms: Iterable[_BatchNorm]) -> Iterator[dict[nn.Module, Tensor]]:
    """Number, sum and sum of squares of the values of each norm layer that runs, shape (3, C)."""
    norms = list(norms)
    sums: dict[nn.Module, Tensor] = {
        norm: torch.zeros(3, norm.num_features, dtype=torch.float64, device=_mean_of(norm).device)
        for norm in norms
    }

    def add(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (x,) = inputs
        variance, mean = torch.var_mean(x.float(), [0, *range(2, x.ndim)], correction=0)
        variance, mean = variance.double(), mean.double()
        number = x.numel() // len(mean)
        sums[norm] += number * torch.stack([torch.ones_like(mean), mean, variance + mean.square()])

    handles = [norm.register_forward_pre_hook(add) for norm in norms]
    for norm in norms:
        # With its own statistics each batch is normalised, without a trace of it left behind.
        norm.training, norm.track_running_stats = True, False
    try:
        yield sums
    finally:
        for norm, handle in zip(norms, handles, strict=True):
            handle.remove()
            norm.track_running_stats = True


def _set_statistics(norm: _BatchNorm, sums: Tensor) -> bool:
    """Set running mean and (unbiased) variance; whether there were values."""
    all_reduce(sums)
    number, total, squares = sums
    if number[0] == 0:
        return False
    mean = total / number
    _mean_of(norm).copy_(mean)
    variance = (squares / number - mean.square()) * number / (number - 1).clamp(min=1)
    norm.get_buffer("running_var").copy_(variance)
    return True


def _mean_of(norm: _BatchNorm) -> Tensor:
    return norm.get_buffer("running_mean")
