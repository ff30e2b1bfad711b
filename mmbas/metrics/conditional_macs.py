"""Average conditional MACs, and average parameters, over a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mmbas.registry import METRICS


@METRICS.register_module()
class ConditionalMACs(BaseMetric):
    """Average cost of the images of a data set, the whole model counted.

    Reads ``macs``, ``dense_macs`` and ``open_fraction``, which a model with
    :class:`mmbas.models.GateLossMixin` leaves on each data sample.

    Args:
        out_file: Where to write the table of all images, in the order of the data set, as JSON:
            a list of ``img_path`` (None for images that are no files), ``macs``, ``dense_macs``,
            ``fraction`` and ``open_fraction``.

    Metrics:
        macs/average: Conditional MACs per image.
        macs/dense: MACs per image with all gates open.
        macs/fraction: Their ratio, 0 to 1.
        macs/open_fraction: Mean of the gates, 0 to 1; 1 for a plain network.
    """

    default_prefix = "macs"

    def __init__(self, out_file: str | None = None) -> None:
        super().__init__()
        self.out_file = out_file

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the cost of each image of a batch."""
        for sample in data_samples:
            row = {
                key: sample_field(sample, key) for key in ("macs", "dense_macs", "open_fraction")
            }
            self.results.append({"img_path": sample.get("img_path"), **row})

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Average over the images of all processes."""
        if self.out_file:
            rows = [{**row, "fraction": row["macs"] / row["dense_macs"]} for row in results]
            Path(self.out_file).parent.mkdir(parents=True, exist_ok=True)
            Path(self.out_file).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
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


@METRICS.register_module()
class ConditionalParams(BaseMetric):
    """Parameters that the images of a data set use on average ("Params" of the paper, table 1).

    A weight of a convolution is used if its input and its output channel are open for the image.
    All others always count: ungated convolutions, norm layers, the gates themselves, the head.

    Reads ``params`` and ``dense_params``, which a model with :class:`mmbas.models.GateLossMixin`
    leaves on each data sample.

    Metrics:
        params/average: Parameters used per image.
        params/dense: Parameters of the model.
        params/fraction: Their ratio, 0 to 1.
    """

    default_prefix = "params"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the parameters of each image of a batch."""
        for sample in data_samples:
            self.results.append(
                (sample_field(sample, "params"), sample_field(sample, "dense_params"))
            )

    def compute_metrics(self, results: list[tuple[float, int]]) -> dict[str, float]:
        """Average over the images of all processes."""
        average, dense = (float(value) for value in np.mean(results, axis=0))
        return {"average": average, "dense": dense, "fraction": average / dense}


def sample_field(sample: dict[str, Any], key: str) -> Any:
    """Costs that the model left on a data sample.

    Raises:
        ValueError: If it is not there, with what to do.
    """
    if key not in sample:
        raise ValueError(
            f"expected {key!r} on each data sample, but got {sorted(sample)}; use a model with "
            "mmbas.models.GateLossMixin, such as type='mmbas.GatedImageClassifier', and with "
            "report_costs=True, the default"
        )
    return sample[key]
