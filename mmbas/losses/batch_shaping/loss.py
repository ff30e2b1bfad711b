"""Batch-shaping loss: shapes the distribution of each gate over a batch to a prior.

B. E. Bejnordi, T. Blankevoort, M. Welling: Batch-Shaping for Learning Conditional Channel Gated
Networks, ICLR 2020, https://arxiv.org/abs/1907.06627

Read :func:`batch_shaping_reference` first: it is the formula. :func:`batch_shaping_loss` computes
the same faster, on the core that it shares with :class:`mmbas.losses.ShapingLoss`. Gate logits with
a Beta prior are one case of shaping.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmbas.gates import GateOutput
from mmbas.losses.batch_shaping.distance import Distance, build_target, check_batch
from mmbas.losses.batch_shaping.gather import gather_batch
from mmbas.losses.batch_shaping.learned_prior import LearnedPrior
from mmbas.losses.batch_shaping.prior import Prior, at_least_float32
from mmbas.losses.batch_shaping.priors import BetaPrior
from mmbas.losses.batch_shaping.queue import LogitQueue
from mmbas.losses.gate_loss import PerGateLoss
from mmbas.registry import MODELS

PAPER_PRIOR = BetaPrior(a=0.6, b=0.4)
ADVICE = (
    "use a larger batch, or BatchShapingLoss with gather=True (several processes) or queue_size > 0"
)


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


def batch_shaping_loss(
    gate_logits: Tensor,
    prior: Prior | LearnedPrior,
    *,
    other_logits: Tensor | None = None,
    min_density: float = 0.0,
    handle_ties: bool = False,
) -> Tensor:
    """Cramer-von-Mises distance of each gate's batch distribution to a prior.

    loss_g = 1/N sum_i ( i/(N+1) - F(x_(i)) )^2,  x_(1) <= ... <= x_(N)

    Args:
        gate_logits: Shape (N, G), any real value; N >= 2 images, G gates.
        prior: Distribution on (0, 1), of the gate probs ``x = sigmoid(gate_logits)``.
        other_logits: Shape (R, G), values of other images that the batch is ranked among: its
            ranks are then those in all N + R values, divided by N + R + 1. They get no gradient,
            the sum still runs over the N images of the batch, and N may be 1.
        min_density: Least density f(x) of the probs in the gradient, see
            :func:`mmbas.losses.shaping_loss`.
        handle_ties: Equal logits share the highest of their ranks, see the same.

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
    check_batch("gate_logits", gate_logits, other_logits, advice=ADVICE)
    distance = Distance(of_gates=True, min_density=min_density, handle_ties=handle_ties)
    return distance(gate_logits, prior, others=other_logits)


@MODELS.register_module()
class BatchShapingLoss(PerGateLoss):
    """Makes each gate conditional: open for some images, closed for others, as the prior says.

    ``loss_weight * factor * reduction(batch_shaping_loss(logits, prior))``. All layers share one
    sort.

    Args:
        loss_weight: lambda of the paper, >= 0.
        prior: Distribution on (0, 1), or its config; Beta(0.6, 0.4) as in the paper. With a
            :class:`LearnedPrior` every layer learns its own.
        reduction: See :class:`PerGateLoss`. The paper writes a sum over gates, the authors'
            published code takes the mean; docs/method.md has the results of both.
        gather: Rank each process's logits in the global batch of all processes. The value is then
            the global batch's loss, on every process. The gradient is that of the global loss
            times the number of processes: DDP averages over processes, and a process holds only
            its own images' share of the sum. Without the factor a run on W processes would train W
            times more weakly than one process with the whole batch. Needs every
            process in every step; does nothing in a single process.
        min_density: Least density of the prior in the gradient; 0 is the paper's loss. The authors'
            published code has 0.001, which draws back gates that are saturated where the prior has
            almost no mass; see :func:`mmbas.losses.shaping_loss`.
        handle_ties: Equal logits share the highest of their ranks.
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
        prior: Prior | LearnedPrior | dict[str, Any] = PAPER_PRIOR,
        reduction: str = "sum",
        gather: bool = False,
        queue_size: int = 0,
        min_density: float = 0.0,
        handle_ties: bool = False,
    ) -> None:
        super().__init__(loss_weight=loss_weight, reduction=reduction)
        if queue_size < 0:
            raise ValueError(
                f"expected queue_size >= 0 images, but got {queue_size}; 0 means no queue"
            )
        self.prior = build_target(prior)
        self.prior.check_gates()
        self.distance = Distance(of_gates=True, min_density=min_density, handle_ties=handle_ties)
        self.gather = gather
        self.queue = LogitQueue(queue_size) if queue_size else None
        self.owners: Tensor | None = None

    def prepare_layers(self, num_gates: Sequence[int]) -> None:
        """Make the parameters of a learned prior, and what :meth:`prepare` does."""
        super().prepare_layers(num_gates)
        if not isinstance(self.prior, LearnedPrior):
            return
        sets = num_gates if self.prior.shared == "layer" else [1] * sum(num_gates)
        self.prior.reserve(len(sets))
        self.owners = torch.arange(len(sets)).repeat_interleave(torch.tensor(sets))

    def prepare(self, num_gates: int) -> None:
        """Give the queue its final shape, so that checkpoints hold the same tensors throughout."""
        if self.queue is not None:
            self.queue.reserve(num_gates)

    def loss_per_gate(self, columns: Tensor) -> Tensor:
        """Loss of each gate, shape (G,), for logits of shape (N, G)."""
        if self.gather:
            columns = gather_batch(at_least_float32(columns))
        if self.queue is None:
            return self._distances(columns)
        older = self.queue.values_for(columns)
        if self.training:
            self.queue.push(columns)
        return self._distances(columns, older)

    def terms(
        self, gate_outputs: Sequence[GateOutput], dense_macs: Callable[[], int]
    ) -> dict[str, Tensor]:
        """The loss, and where the prior is learned that of its parameters, ``loss_bas_hyper``."""
        terms = super().terms(gate_outputs, dense_macs)
        if isinstance(self.prior, LearnedPrior):
            hyper_loss = self.loss_weight * self.factor * self.prior.hyper_loss()
            terms[f"{self.loss_name}_hyper"] = hyper_loss
        return terms

    def _distances(self, gate_logits: Tensor, older: Tensor | None = None) -> Tensor:
        check_batch("gate_logits", gate_logits, older, advice=ADVICE)
        return self.distance(gate_logits, self.prior, owners=self.owners, others=older)

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return f"{super().extra_repr()}, prior={self.prior}, gather={self.gather}"
