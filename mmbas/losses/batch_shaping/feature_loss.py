"""The shaping loss of values of features, column by column."""

from __future__ import annotations

from torch import Tensor

from mmbas.losses.batch_shaping.distance import Distance, check_batch
from mmbas.losses.batch_shaping.learned_prior import LearnedPrior
from mmbas.losses.batch_shaping.prior import Prior

ADVICE = "use a larger batch, ShapingLoss with gather=True (several processes) or queue_size > 0"


def shaping_loss(
    values: Tensor,
    prior: Prior | LearnedPrior,
    *,
    other_values: Tensor | None = None,
    min_density: float = 0.0,
    handle_ties: bool = False,
) -> Tensor:
    """Cramer-von-Mises distance of each column's distribution to a prior.

    loss_g = 1/N sum_i ( i/(N+1) - F(x_(i)) )^2,  x_(1) <= ... <= x_(N)

    Args:
        values: Shape (N, G), any real value; N >= 2.
        prior: Distribution of the values; a learned one has a set of parameters for each column.
        other_values: Shape (R, G), values that the batch is ranked among, without gradient; N may
            then be 1.
        min_density: Least density f(x) in the gradient ``2/N f(x) (F(x) - i/(N+1))``; the loss
            stays the same. With 0 values where the prior has almost no mass hardly move. The
            authors' published code has 0.001.
        handle_ties: Equal values share the highest of their ranks, instead of taking them in the
            order of the batch.

    Returns:
        Loss per column, shape (G,), >= 0; float32 for float32 and half precision.

    Raises:
        ValueError: If values is not 2-D, has too few rows, other_values has another number of
            columns, or min_density is out of range.

    Example:
        >>> import torch
        >>> from mmbas.losses import NormalPrior, shaping_loss
        >>> spread_out, equal = [-1.0, 0.0, 1.0], [0.1, 0.1, 0.1]
        >>> shaping_loss(torch.tensor([spread_out, equal]).t(), NormalPrior())
        tensor([0.0056, 0.0433])

    Source:
        Bejnordi et al., ICLR 2020, eq. 2.
    """
    check_batch("values", values, other_values, advice=ADVICE)
    distance = Distance(of_gates=False, min_density=min_density, handle_ties=handle_ties)
    return distance(values, prior, others=other_values)
