"""The data sets of a config, bare or inside wrappers such as ``ConcatDataset``."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import Subset

from mmbas.registry import type_name

# Wrappers that repeat or augment images; the data set inside gives each image once, as it is.
REPEATING_OR_AUGMENTING = (
    "RepeatDataset",
    "ClassBalancedDataset",
    "MultiImageMixDataset",
    "BatchedCrops",
)
# They download their images.
DOWNLOADING = ("CIFAR10", "CIFAR100")
# The host's metrics that read the names of the classes.
METRICS_WITH_CLASSES = ("IoUMetric",)


def wrapped(dataset: Mapping[str, Any]) -> list[Any]:
    """Configs of the data sets directly inside a wrapper; none where ``dataset`` is no wrapper."""
    inside = dataset.get("datasets") or [dataset.get("dataset")]
    return [inner for inner in inside if isinstance(inner, Mapping)]


def innermost(dataset: Any) -> list[Any]:
    """Configs of the data sets that read images: those inside all wrappers, or the one itself."""
    inside = wrapped(dataset)
    return [found for inner in inside for found in innermost(inner)] if inside else [dataset]


def set_pipeline(dataset: Any, pipeline: Any) -> None:
    """Give a data set's config, or those that it wraps, another pipeline; in place."""
    for inner in innermost(dataset):
        inner["pipeline"] = pipeline


def each_image_once(dataset: Any) -> Any:
    """A data set's config without the wrappers that repeat or augment images; may share parts."""
    if type_name(dataset) in REPEATING_OR_AUGMENTING:
        return each_image_once(dataset["dataset"])
    if dataset.get("datasets"):
        dataset["datasets"] = [each_image_once(inner) for inner in dataset["datasets"]]
    elif wrapped(dataset):
        dataset["dataset"] = each_image_once(dataset["dataset"])
    return dataset


def data_loader(config: Config, part: str, *, mixed: bool = False) -> Any:
    """The images of a part of the data as the test set is read: each once, not augmented.

    Args:
        config: With ``test_dataloader`` and that of the part.
        part: ``'train'``, ``'val'`` or ``'test'``.
        mixed: True if the images come in a fixed random order, so that the first ones stand for
            all; folders of classes come class by class otherwise.

    Raises:
        ValueError: If the config has no such part.
    """
    for name in ("test", part):
        if not config.get(f"{name}_dataloader"):
            raise ValueError(f"expected {name}_dataloader in the config, but got none")
    loader = copy.deepcopy(config["test_dataloader"])
    if part != "test":
        pipeline = innermost(loader["dataset"])[0]["pipeline"]
        dataset = each_image_once(copy.deepcopy(config[f"{part}_dataloader"]["dataset"]))
        set_pipeline(dataset, pipeline)
        loader["dataset"] = dataset
    with class_names_asked_for():
        if mixed:
            loader["dataset"] = _mixed(DATASETS.build(loader["dataset"]))
        return Runner.build_dataloader(loader)


def _mixed(dataset: Any) -> ImageSubset:
    """All images of a built data set in a fixed random order."""
    if hasattr(dataset, "full_init"):  # plain torch's have none
        dataset.full_init()
    return ImageSubset(dataset, np.random.default_rng(0).permutation(len(dataset)).tolist())


@contextlib.contextmanager
def class_names_asked_for() -> Iterator[None]:
    """Building a data set inside says in one line that it needs class names for a test.

    Raises:
        ValueError: Instead of the assertion with which MMSegmentation asks for them.
    """
    try:
        yield
    except AssertionError as error:
        if "classes" not in str(error):
            raise
        raise ValueError(
            f"expected class names for a test, but a data set has none ({error}); set "
            "dataset.metainfo=dict(classes=(...))"
        ) from error


def metainfo_of(dataset: Any) -> dict[str, Any]:
    """Facts that a built data set states of itself; none for a data set of plain torch."""
    return dict(getattr(dataset, "metainfo", None) or {})


def class_names(dataset: Any) -> tuple[str, ...]:
    """Names of a built data set's classes; empty where it names none."""
    return tuple(str(name) for name in metainfo_of(dataset).get("classes") or ())


class ImageSubset(Subset[Any]):
    """Some images of any data set; mmengine's wrappers of data sets have no subsets."""

    @property
    def metainfo(self) -> dict[str, Any]:
        """Facts of the whole data set."""
        return metainfo_of(self.dataset)


def check_class_names(dataset: Any, metrics: Any) -> None:
    """Refuse a data set without class names for a metric that reads them.

    Args:
        dataset: A built data set.
        metrics: Config of an evaluator: one metric or several.

    Raises:
        ValueError: With the metric and what to set.
    """
    for metric in as_list(metrics):
        if type_name(metric) in METRICS_WITH_CLASSES and not class_names(dataset):
            raise ValueError(
                f"expected the names of the classes for {type_name(metric)}, but the data set "
                f"{type(dataset).__name__} has none; set dataset.metainfo=dict(classes=(...))"
            )


def as_list(settings: Any) -> list[Any]:
    """One setting of a config, or several, or none, as a list."""
    if settings is None:
        return []
    return list(settings) if isinstance(settings, Sequence) else [settings]


def check_data_roots(config: Config, loaders: Sequence[str]) -> None:
    """Refuse a config whose data is not there, before anything is built.

    Args:
        config: With ``train_dataloader`` etc.
        loaders: Names of the loaders that are needed.

    Raises:
        ValueError: With the folder that does not exist and how to set another one.
    """
    for loader in loaders:
        for dataset in innermost((config.get(loader) or {}).get("dataset") or {}):
            root = dataset.get("data_root")
            downloads = type_name(dataset) in DOWNLOADING
            if root and not downloads and "://" not in root and not Path(root).is_dir():
                raise ValueError(
                    f"expected the data of {loader} in the folder {root}, but it does not exist; "
                    f"set another with --cfg-options {loader}.dataset.data_root=FOLDER"
                )


def input_shape(config: Config, shape: Sequence[int] | None) -> tuple[int, int]:
    """Height and width of the images: ``shape`` if given, else the crop of the training pipeline.

    Raises:
        ValueError: If there is neither.
    """
    if shape:
        return (shape[0], shape[0]) if len(shape) == 1 else (shape[0], shape[1])
    dataset = (config.get("train_dataloader") or {}).get("dataset") or {}
    for transform in reversed(innermost(dataset)[0].get("pipeline") or []):
        size = transform.get("crop_size") or (
            transform.get("scale") if type_name(transform) == "RandomResizedCrop" else None
        )
        if size:
            return (size, size) if isinstance(size, int) else (size[0], size[1])
    raise ValueError(
        "expected a crop size in the config's training pipeline, but found none; give the image "
        "size with --shape HEIGHT WIDTH"
    )
