"""Random crop and flip of whole batches: for small images a pipeline for each takes too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import DATASETS as HOST_DATASETS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn import functional as F

from mmbas.registry import DATASETS, FUNCTIONS


class Batch(dict[str, Any]):
    """A whole batch; says what is wrong where a ``collate_fn`` takes it for a list of samples."""

    def __missing__(self, key: Any) -> Any:
        if isinstance(key, int):
            raise ValueError(
                "expected collate_fn=dict(type='mmbas.keep_batch') in the loader of "
                "mmbas.BatchedCrops, which gives whole batches, but got another one"
            )
        raise KeyError(key)


@FUNCTIONS.register_module()
def keep_batch(batch: Batch) -> Batch:
    """The ``collate_fn`` of a loader whose data set gives whole batches: nothing to join.

    Raises:
        ValueError: If the data set gives single samples.
    """
    if not isinstance(batch, dict):
        raise ValueError(
            "expected whole batches for collate_fn=mmbas.keep_batch, but got single samples; use "
            "it with mmbas.BatchedCrops (not wrapped in another data set) only"
        )
    return batch


@DATASETS.register_module()
class BatchedCrops:
    """Training images of one size, held in memory and augmented a batch at a time.

    Draws what ``RandomCrop(padding=...)`` and ``RandomFlip`` of MMPretrain draw, each image its
    own crop and flip. A loader needs ``collate_fn=dict(type="mmbas.keep_batch")`` beside it. All
    images go once through the inner data set's pipeline, at the start; labels are all that is kept
    beside them. Random numbers are torch's, so ``mmbas.SeedPerEpochHook`` covers them.

    Args:
        dataset: Config of the data set, whose samples are ``dict(inputs, data_samples)`` with
            ``inputs`` of one shape (C, H, W).
        padding: Zeros around each image, in pixels, before a crop of its own size.
        flip_prob: Share of the images mirrored left to right.

    Raises:
        ValueError: If the padding is no whole number of pixels, the share is none, or the data set
            is empty, without labels, or of images that differ in size.
    """

    def __init__(
        self, dataset: dict[str, Any], *, padding: int = 0, flip_prob: float = 0.0
    ) -> None:
        if not isinstance(padding, int) or padding < 0:
            raise ValueError(
                f"expected padding as a whole number >= 0, pixels on each side, but got {padding!r}"
            )
        if not 0 <= flip_prob <= 1:
            raise ValueError(f"expected flip_prob between 0 and 1, but got {flip_prob}")
        self.dataset = HOST_DATASETS.build(dataset)
        self.dataset.full_init()
        self.flip_prob = flip_prob
        self.num_offsets = 2 * padding + 1
        images, self.labels = _images_and_labels(self.dataset)
        height, width = images.shape[-2:]
        padded = F.pad(images, (padding,) * 4)
        # A view, shape (N, C, offsets, offsets, H, W): all crops of all images.
        self.crops = padded.unfold(2, height, 1).unfold(3, width, 1)

    @property
    def metainfo(self) -> dict[str, Any]:
        """Facts of the inner data set."""
        metainfo: dict[str, Any] = self.dataset.metainfo
        return metainfo

    def full_init(self) -> None:
        """Nothing to do: it happened at the start."""

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Annotation of an image, as the hosts' data sets give it."""
        info: dict[str, Any] = self.dataset.get_data_info(index)
        return info

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch, as torch's loader asks for it: ``inputs`` (N, C, H, W), ``data_samples``."""
        chosen = torch.as_tensor(indices, device="cpu")
        top, left = torch.randint(self.num_offsets, (2, len(chosen)), device="cpu")
        inputs = self.crops[chosen, :, top, left]
        flipped = torch.rand(len(chosen), dtype=torch.float32, device="cpu") < self.flip_prob
        inputs[flipped] = inputs[flipped].flip(-1)
        samples = [DataSample().set_gt_label(label) for label in self.labels[chosen]]
        return Batch(inputs=inputs, data_samples=samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch = self.__getitems__([index])
        return {"inputs": batch["inputs"][0], "data_samples": batch["data_samples"][0]}

    def __len__(self) -> int:
        return len(self.labels)


def _images_and_labels(dataset: Any) -> tuple[Tensor, Tensor]:
    """All images of a data set, shape (N, C, H, W), and their labels, shape (N,)."""
    images: list[Tensor] = []
    labels: list[Tensor] = []
    if not len(dataset):
        raise ValueError("expected images for mmbas.BatchedCrops, but its data set is empty")
    for index in range(len(dataset)):
        sample = dataset[index]
        if "gt_label" not in sample["data_samples"]:
            raise ValueError(f"expected a label of each image, but image {index} has none")
        image = sample["inputs"]
        if images and image.shape != images[0].shape:
            raise ValueError(
                f"expected images of one size for mmbas.BatchedCrops, but image 0 has the shape "
                f"{tuple(images[0].shape)} and image {index} {tuple(image.shape)}; resize them in "
                "the pipeline, or use a pipeline for each image"
            )
        images.append(image)
        labels.append(sample["data_samples"].gt_label)
    return torch.stack(images), torch.cat(labels)
