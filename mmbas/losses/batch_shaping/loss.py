"""Batch-shaping loss: shapes the distribution of each gate over a batch to a prior.

B. E. Bejnordi, T. Blankevoort, M. Welling: Batch-Shaping for Learning Conditional Channel Gated
Networks, ICLR 2020, https://arxiv.org/abs/1907.06627

Read :func:`batch_shaping_reference` first: it is the formula. :func:`batch_shaping_loss` computes
the same faster, with the gradient written out and gates taken in blocks that fit into the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mmbas.losses.batch_shaping.gather import gather_batch
from mmbas.losses.batch_shaping.priors import BetaPrior, Prior, at_least_float32
from mmbas.losses.batch_shaping.queue import LogitQueue
from mmbas.losses.batch_shaping.ranks import batch_ranks
from mmbas.losses.gate_loss import PerGateLoss
from mmbas.registry import MODELS

PAPER_PRIOR = BetaPrior(a=0.6, b=0.4)
CPU_BLOCK_VALUES = (1 << 15) - 1  # torch splits larger work among threads


def batch_shaping_reference(gate_logits: Tensor, prior: Prior) -> Tensor:
    """:func:`batch_shaping_loss` as the paper writes it, to be read and compared with.

    Args:
        gate_logits: Shape (N, G), float32 or float64.
        prior: Distribution on (0, 1), of the gate probs ``x = sigmoid(gate_logits)``.

    Returns:
        Loss per gate, shape (G,). Autograd returns the gradient to the unsorted images.

    Example:
        >>> logits = torch.tensor([[0.0], [2.0], [-2.0]])
        >>> batch_shaping_reference(logits, BetaPrior(a=0.6, b=0.4))
        tensor([0.0102])

    Source:
        Bejnordi et al., ICLR 2020, eq. 2.
    """
    num_images = len(gate_logits)
    sorted_logits = gate_logits.sort(dim=0, stable=True).values
    prior_cdf = prior.cdf(sorted_logits)
    i = torch.arange(1, num_images + 1, dtype=prior_cdf.dtype, device=prior_cdf.device)
    empirical_cdf = i.unsqueeze(1) / (num_images + 1)
    return (empirical_cdf - prior_cdf).square().mean(dim=0)


class _CramerVonMises(torch.autograd.Function):
    """Loss per gate; the gradient is computed on the way forward and only scaled backward."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, prior: Prior, others: Tensor | None) -> Tensor:
        needs_grad = ctx.needs_input_grad[0]
        rows = at_least_float32(logits.t())
        losses, grads = [], []
        for gates in _blocks_of_gates(rows):
            values = rows[gates].contiguous()
            ranked = values if others is None else torch.cat([others.t()[gates], values], dim=1)
            error, density = _error_and_density(values, ranked.to(values), prior)
            if needs_grad:
                grads.append(density.mul_(error).mul_(2 / len(logits)))
            losses.append(error.square_().mean(dim=1))
        if needs_grad:
            ctx.save_for_backward(torch.cat(grads))
        return torch.cat(losses)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = ctx.saved_tensors
        return (grad * grad_outputs[0].unsqueeze(1)).t(), None, None


def _error_and_density(values: Tensor, ranked: Tensor, prior: Prior) -> tuple[Tensor, Tensor]:
    """``F(x) - rank / (M + 1)`` and ``dF/dl`` of values (G, N), the last of ranked (G, M)."""
    num_images, num_ranked = values.shape[1], ranked.shape[1]
    ranks = batch_ranks(ranked)[:, num_ranked - num_images :]
    cdf, density = prior.cdf_and_density(values)
    return cdf.sub_(ranks, alpha=1 / (num_ranked + 1)), density


def _blocks_of_gates(rows: Tensor) -> Iterator[slice]:
    """Slices of rows (G, N); on the CPU so small that temporaries stay in its cache.

    They also stay within one thread: waiting for each other some dozen times per block, threads
    would take much longer wherever data loading or another process keeps a core busy.
    """
    num_gates, num_images = rows.shape
    size = num_gates
    if rows.device.type == "cpu":
        size = max(1, CPU_BLOCK_VALUES // num_images)
    for start in range(0, num_gates, max(1, size)):
        yield slice(start, start + size)


def batch_shaping_loss(
    gate_logits: Tensor, prior: Prior, *, other_logits: Tensor | None = None
) -> Tensor:
    """Cramer-von-Mises distance of each gate's batch distribution to a prior.

    loss_g = 1/N sum_i ( i/(N+1) - F(x_(i)) )^2,  x_(1) <= ... <= x_(N)

    Args:
        gate_logits: Shape (N, G), any real value; N >= 2 images, G gates.
        prior: Distribution on (0, 1), of the gate probs ``x = sigmoid(gate_logits)``.
        other_logits: Shape (R, G), values of other images that the batch is ranked among: its
            ranks are then those in all N + R values, divided by N + R + 1. They get no gradient,
            the sum still runs over the N images of the batch, and N may be 1.

    Returns:
        Loss per gate, shape (G,), >= 0; float32 for float32 and half precision. The gradient is
        ``2/N dF/dl (F(x_(i)) - i/(N+1))``, finite for every finite logit.

    Raises:
        ValueError: If gate_logits is not 2-D, has too few images, or other_logits has another
            number of gates.

    Example:
        >>> import torch
        >>> from mmbas.losses import BetaPrior, batch_shaping_loss
        >>> conditional, always_open = [-4.0, 0.0, 4.0], [4.0, 4.1, 4.2]
        >>> logits = torch.tensor([conditional, always_open]).t()  # 3 images, 2 gates
        >>> batch_shaping_loss(logits, BetaPrior(a=0.6, b=0.4))
        tensor([0.0216, 0.1649])

    Note:
        Equal logits are ranked in the order of the batch, after equal ones of other_logits. The
        loss does not depend on the order of the batch, nor does any image's gradient, but for
        equal logits, which exchange theirs.

    Source:
        Bejnordi et al., ICLR 2020, eq. 2 and appendix A, whose pseudo code leaves out 1/N;
        evaluated in logit space.
    """
    if gate_logits.ndim != 2:
        raise ValueError(
            f"expected gate_logits of shape (N, G), but got shape {tuple(gate_logits.shape)}"
        )
    min_images = 2 if other_logits is None else 1
    if len(gate_logits) < min_images:
        raise ValueError(
            f"expected at least {min_images} images to compare with a distribution, but got "
            f"{len(gate_logits)}; use a larger batch, or BatchShapingLoss with gather=True "
            "(several processes) or queue_size > 0"
        )
    if other_logits is not None and other_logits.shape[1:] != gate_logits.shape[1:]:
        raise ValueError(
            f"expected other_logits of shape (R, {gate_logits.shape[1]}), but got shape "
            f"{tuple(other_logits.shape)}"
        )
    loss: Tensor = _CramerVonMises.apply(gate_logits, prior, other_logits)
    return loss


@MODELS.register_module()
class BatchShapingLoss(PerGateLoss):
    """Makes each gate conditional: open for some images, closed for others, as the prior says.

    ``loss_weight * factor * reduction(batch_shaping_loss(logits, prior))``. All layers share one
    sort.

    Args:
        loss_weight: lambda of the paper, >= 0.
        prior: Distribution on (0, 1), or its config; Beta(0.6, 0.4) as in the paper.
        reduction: See :class:`PerGateLoss`.
        gather: Rank each process's logits in the global batch of all processes. The value is then
            the global batch's loss, on every process. The gradient is that of the global loss
            times the number of processes: DDP averages over processes, and a process holds only
            its own images' share of the sum. Without the factor a run on W processes would train W
            times more weakly than one process with the whole batch. Needs every
            process in every step; does nothing in a single process.
        queue_size: Rank each batch among the last ``queue_size`` values of every gate as well,
            for batches too small to say much about a distribution. They are kept without
            gradient, from training batches only, in the checkpoint, and come from slightly older
            weights. With ``gather`` the global batches are kept, otherwise each process has its
            own queue (and the checkpoint holds that of the process that wrote it). While the queue
            is empty a single image is ranked in the middle, 1/2.

    Raises:
        ValueError: If an argument is out of range; in forward, if fewer than 2 images are there
            to be ranked and there is no queue.
        TypeError: If prior is no distribution.

    Note:
        At weight 0, as before or after a schedule's window, nothing is computed and the queue
        rests.
    """

    loss_name = "loss_bas"

    def __init__(
        self,
        *,
        loss_weight: float = 0.75,
        prior: Prior | dict[str, Any] = PAPER_PRIOR,
        reduction: str = "sum",
        gather: bool = False,
        queue_size: int = 0,
    ) -> None:
        super().__init__(loss_weight=loss_weight, reduction=reduction)
        if queue_size < 0:
            raise ValueError(
                f"expected queue_size >= 0 images, but got {queue_size}; 0 means no queue"
            )
        self.prior: Prior = MODELS.build(prior) if isinstance(prior, dict) else prior
        if not isinstance(self.prior, Prior):
            raise TypeError(
                "expected prior to be a distribution, such as dict(type='mmbas.BetaPrior', a=0.6, "
                f"b=0.4), but got {type(self.prior).__name__}"
            )
        self.gather = gather
        self.queue = LogitQueue(queue_size) if queue_size else None

    def prepare(self, num_gates: int) -> None:
        """Give the queue its final shape, so that checkpoints hold the same tensors throughout."""
        if self.queue is not None:
            self.queue.reserve(num_gates)

    def loss_per_gate(self, columns: Tensor) -> Tensor:
        """Loss of each gate, shape (G,), for logits of shape (N, G)."""
        if self.gather:
            columns = gather_batch(at_least_float32(columns))
        if self.queue is None:
            return batch_shaping_loss(columns, self.prior)
        older = self.queue.values_for(columns)
        if self.training:
            self.queue.push(columns)
        return batch_shaping_loss(columns, self.prior, other_logits=older)

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return f"{super().extra_repr()}, prior={self.prior}, gather={self.gather}"
