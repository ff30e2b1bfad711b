"""The distance of a batch's distribution to a prior: the one core of all shaping losses.

T. W. Anderson: On the Distribution of the Two-Sample Cramer-von Mises Criterion, Annals of
Mathematical Statistics 33 (1962); as a loss: Bejnordi et al., ICLR 2020, equation 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from mmbas.losses.batch_shaping.prior import Curve, Prior, at_least_float32
from mmbas.losses.batch_shaping.ranks import batch_ranks, tied_ranks

CPU_BLOCK_VALUES = (1 << 15) - 1  # torch splits larger work among threads


def cramer_von_mises(
    values: Tensor, curve: Curve, *, others: Tensor | None = None, handle_ties: bool = False
) -> Tensor:
    """Distance of each column to a distribution, with its gradient written out.

    Columns are taken in blocks that fit into the cache. :func:`cramer_von_mises_formula` is the
    same as a formula.

    Args:
        values: Shape (N, G).
        curve: CDF and density at values of shape (G, N).
        others: Shape (R, G), values that the batch is ranked among; they get no gradient.
        handle_ties: Equal values share the highest of their ranks.

    Returns:
        Shape (G,), float32 for float32 and half precision.
    """
    distance: Tensor = _CramerVonMises.apply(values, curve, others, handle_ties)
    return distance


def cramer_von_mises_formula(
    values: Tensor,
    cdf: Callable[[Tensor], Tensor],
    *,
    others: Tensor | None = None,
    handle_ties: bool = False,
) -> Tensor:
    """The same distance as a formula, for priors whose parameters autograd has to reach.

    Args:
        values: See :func:`cramer_von_mises`.
        cdf: Differentiable CDF at values of shape (N, G).
        others: See :func:`cramer_von_mises`.
        handle_ties: See :func:`cramer_von_mises`.
    """
    values = at_least_float32(values)
    num_ranked = len(values) + (0 if others is None else len(others))
    older = None if others is None else others.t().to(values)
    ranks = _ranks(values.detach().t().contiguous(), older, handle_ties).t()
    return (cdf(values) - ranks / (num_ranked + 1)).square().mean(dim=0)


def gate_curve(prior: Prior, min_density: float) -> Curve:
    """CDF and derivative at gate logits, where the density of the probs is at least a floor."""
    if min_density == 0:
        return prior.cdf_and_density

    def floored(logits: Tensor) -> tuple[Tensor, Tensor]:
        cdf, density = prior.cdf_and_density(logits)
        floor = logits.sigmoid().mul_(logits.neg().sigmoid_()).mul_(min_density)
        return cdf, torch.maximum(density, floor)

    return floored


def value_curve(prior: Prior, min_density: float) -> Curve:
    """CDF and density at values of a feature, where the density is at least a floor."""
    if min_density == 0:
        return prior.value_cdf_and_density

    def floored(values: Tensor) -> tuple[Tensor, Tensor]:
        cdf, density = prior.value_cdf_and_density(values)
        return cdf, density.clamp_(min=min_density)

    return floored


class _CramerVonMises(torch.autograd.Function):
    """Loss per column; the gradient is computed on the way forward and only scaled backward."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, curve: Curve, others: Tensor | None, handle_ties: bool
    ) -> Tensor:
        needs_grad = ctx.needs_input_grad[0]
        rows = at_least_float32(values.t())
        losses, grads = [], []
        for columns in _blocks_of_columns(rows):
            block = rows[columns].contiguous()
            older = None if others is None else others.t()[columns]
            num_ranked = len(values) + (0 if others is None else len(others))
            ranks = _ranks(block, older, handle_ties)
            cdf, density = curve(block)
            error = cdf.sub_(ranks, alpha=1 / (num_ranked + 1))
            if needs_grad:
                grads.append(density.mul_(error).mul_(2 / len(values)))
            losses.append(error.square_().mean(dim=1))
        if needs_grad:
            ctx.save_for_backward(torch.cat(grads))
        return torch.cat(losses)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        (grad,) = ctx.saved_tensors
        return (grad * grad_outputs[0].unsqueeze(1)).t(), None, None, None


def _ranks(rows: Tensor, older: Tensor | None, handle_ties: bool) -> Tensor:
    """Ranks of rows (G, N) among themselves and older values (G, R), which come first."""
    ranked = rows if older is None else torch.cat([older, rows], dim=1).to(rows)
    ranks = tied_ranks(ranked) if handle_ties else batch_ranks(ranked)
    return ranks[:, ranked.shape[1] - rows.shape[1] :]


def _blocks_of_columns(rows: Tensor) -> Iterator[slice]:
    """Slices of rows (G, N); on the CPU so small that temporaries stay in its cache.

    They also stay within one thread: waiting for each other some dozen times per block, threads
    would take much longer wherever data loading or another process keeps a core busy.
    """
    num_columns, num_values = rows.shape
    size = num_columns
    if rows.device.type == "cpu":
        size = max(1, CPU_BLOCK_VALUES // num_values)
    for start in range(0, num_columns, max(1, size)):
        yield slice(start, start + size)
