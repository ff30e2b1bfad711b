"""Figures of the test set for the tools that change a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import Evaluator

from mmbas.cli.data_sets import as_list, check_class_names, data_loader, metainfo_of
from mmbas.compress.chosen_images import evaluate, select_images
from mmbas.registry import type_name


def evaluate_test_set(
    config: Config, model: Any, classes: Sequence[int] | None = None
) -> dict[str, Any]:
    """The config's metrics on its test set, conditional MACs and parameters.

    Args:
        config: With ``test_dataloader`` and ``test_evaluator``.
        model: Model in evaluation mode.
        classes: Only images with any of these labels; None for all.

    Raises:
        ValueError: If a metric needs class names that the data set lacks, or there are no images.
    """
    loader = data_loader(config, "test")
    metrics = as_list(config.get("test_evaluator"))
    check_class_names(loader.dataset, metrics)
    if not any(type_name(metric) == "ConditionalMACs" for metric in metrics):
        metrics.append(dict(type="mmbas.ConditionalMACs"))
    evaluator = Evaluator(metrics)
    evaluator.dataset_meta = metainfo_of(loader.dataset)
    result = evaluate(model, select_images(loader, classes=classes), evaluator)
    figures = {  # MMSegmentation's are numpy's scalars
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in result.items()
    }
    return {**figures, "params": sum(p.numel() for p in model.parameters())}


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[list[str]]:
    """Rows of a table: name of a figure, its value before and after."""
    return [
        [key, *(f"{result.get(key, float('nan')):,.6g}" for result in (before, after))]
        for key in before
        if isinstance(before[key], (int, float))
    ]
