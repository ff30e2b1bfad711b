"""What the tools that change a trained network need: images, weights, figures of the test set."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, load_checkpoint

from mmbas.cli.command_line import build_model
from mmbas.compress.chosen_images import evaluate, select_images


def data_loader(config: Config, part: str) -> Any:
    """The images of a part of the data as the test set is read: in order, not augmented."""
    loader = copy.deepcopy(config.test_dataloader)
    if part != "test":
        dataset = copy.deepcopy(config[f"{part}_dataloader"].dataset)
        set_pipeline(dataset, loader.dataset.pipeline)
        loader.dataset = dataset
    return Runner.build_dataloader(loader)


def set_pipeline(dataset: Any, pipeline: Any) -> None:
    """Give a dataset, or those that it wraps, another pipeline."""
    wrapped = dataset.get("datasets") or [dataset.get("dataset")]
    if wrapped == [None]:
        dataset.pipeline = pipeline
    for inner in wrapped:
        if inner is not None:
            set_pipeline(inner, pipeline)


def load_model(config: Config, checkpoint: str) -> Any:
    """A config's model with the weights of a checkpoint, in evaluation mode, on the best device."""
    config = copy.deepcopy(config)
    if "data_preprocessor" in config:
        config.model.setdefault("data_preprocessor", config.data_preprocessor)
    model = build_model(config)
    load_checkpoint(model, checkpoint, map_location="cpu", logger="silent")
    return model.to(get_device())


def evaluate_test_set(
    config: Config, model: Any, classes: Sequence[int] | None = None
) -> dict[str, Any]:
    """The config's metrics on its test set, conditional MACs and parameters.

    Args:
        config: With ``test_dataloader`` and ``test_evaluator``.
        model: In evaluation mode.
        classes: Only images with any of these labels; None for all.
    """
    loader = data_loader(config, "test")
    metrics = config.test_evaluator
    metrics = list(metrics) if isinstance(metrics, list) else [metrics]
    if not any(metric["type"].endswith("ConditionalMACs") for metric in metrics):
        metrics.append(dict(type="mmbas.ConditionalMACs"))
    evaluator = Evaluator(metrics)
    evaluator.dataset_meta = loader.dataset.metainfo
    result = evaluate(model, select_images(loader, classes=classes), evaluator)
    metrics = {  # MMSegmentation's are numpy's scalars
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in result.items()
    }
    return {**metrics, "params": sum(p.numel() for p in model.parameters())}


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[list[str]]:
    """Rows of a table: name of a figure, its value before and after."""
    return [
        [key, *(f"{result.get(key, float('nan')):,.6g}" for result in (before, after))]
        for key in before
        if isinstance(before[key], (int, float))
    ]
