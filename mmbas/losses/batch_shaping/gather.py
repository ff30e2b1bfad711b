"""The batch of all processes, for losses that are no mean over images."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _GatherBatch(torch.autograd.Function):
    """All processes' rows; backward the own rows' gradient times the number of processes."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        world_size, rank = dist.get_world_size(), dist.get_rank()
        num_rows = torch.zeros(world_size, dtype=torch.int64, device=local.device)
        num_rows[rank] = len(local)
        dist.all_reduce(num_rows)
        sizes = num_rows.tolist()
        padded = local.new_zeros((max(sizes), *local.shape[1:]))
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        ctx.world_size = world_size
        ctx.own_rows = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0][ctx.own_rows] * ctx.world_size


def gather_batch(local: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks.

    For a loss L of the whole batch that every process computes: each process's backward pass
    reaches its own rows only, so the gradient of L is the *sum* over processes, but DDP takes the
    mean. The gradient is therefore multiplied by the number of processes.

    Args:
        local: Shape (N, ...) on this process; N may differ between processes.

    Returns:
        Shape (sum of N, ...); ``local`` itself where torch.distributed has one process or none.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return local
    gathered: Tensor = _GatherBatch.apply(local)
    return gathered
