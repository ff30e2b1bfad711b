"""Which gates are always on, conditional, always off (section 5.4 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from mmbas.metrics.conditional_macs import sample_field
from mmbas.registry import METRICS

ALWAYS_ON_RATE = 0.99
ALWAYS_OFF_RATE = 0.01


def gate_shares(open_rates: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Shares of the gates that are always on, conditional and always off; they sum to 1.

    Args:
        open_rates: For each gate the fraction of images it is open for, shape (G,), G >= 1.
    """
    always_on = float(np.mean(open_rates > ALWAYS_ON_RATE))
    always_off = float(np.mean(open_rates < ALWAYS_OFF_RATE))
    conditional = float(np.mean((open_rates <= ALWAYS_ON_RATE) & (open_rates >= ALWAYS_OFF_RATE)))
    return {"always_on": always_on, "conditional": conditional, "always_off": always_off}


@METRICS.register_module()
class GateStatistics(BaseMetric):
    """Shares of the gates by how often they are open over a data set.

    Reads ``gates``, which a model with :class:`mmbas.models.GateLossMixin` leaves on each data
    sample. Empty for a plain network.

    Metrics:
        gates/always_on: Share of gates open for more than 99 % of the images, 0 to 1.
        gates/conditional: Share of the rest, 0 to 1.
        gates/always_off: Share of gates open for less than 1 % of the images, 0 to 1.
    """

    default_prefix = "gates"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the gates of each image of a batch, one bit per gate."""
        for sample in data_samples:
            gates = np.asarray(sample_field(sample, "gates"), dtype=bool)
            self.results.append((np.packbits(gates), gates.size))

    def compute_metrics(self, results: list[tuple[NDArray[np.uint8], int]]) -> dict[str, float]:
        """Shares over the images of all processes."""
        num_gates = results[0][1]
        if num_gates == 0:
            return {}
        num_open = np.zeros(num_gates, dtype=np.int64)
        for packed, _ in results:
            num_open += np.unpackbits(packed, count=num_gates)
        return gate_shares(num_open / len(results))
