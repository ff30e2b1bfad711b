"""Average conditional MACs over a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mmbas.registry import METRICS


@METRICS.register_module()
class ConditionalMACs(BaseMetric):
    """What the images of a data set cost on average, the whole model counted.

    Reads ``macs``, ``dense_macs`` and ``open_fraction``, which a model with
    :class:`mmbas.models.GateLossMixin` leaves on each data sample.

    Metrics:
        macs/average: Conditional MACs per image.
        macs/dense: MACs per image with all gates open.
        macs/fraction: Their ratio, 0 to 1.
        macs/open_fraction: Mean of the gates, 0 to 1; 1 for a plain network.
    """

    default_prefix = "macs"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the cost of each image of a batch."""
        for sample in data_samples:
            self.results.append(
                {key: sample_field(sample, key) for key in ("macs", "dense_macs", "open_fraction")}
            )

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        """Average over the images of all processes."""
        average, dense, open_fraction = (
            float(np.mean([result[key] for result in results]))
            for key in ("macs", "dense_macs", "open_fraction")
        )
        return {
            "average": average,
            "dense": dense,
            "fraction": average / dense,
            "open_fraction": open_fraction,
        }


def sample_field(sample: dict[str, Any], key: str) -> Any:
    """What the model left on a data sample.

    Raises:
        ValueError: If it is not there, with what to do.
    """
    if key not in sample:
        raise ValueError(
            f"expected {key!r} on each data sample, but got {sorted(sample)}; use a model with "
            "mmbas.models.GateLossMixin, such as type='mmbas.GatedImageClassifier'"
        )
    return sample[key]
