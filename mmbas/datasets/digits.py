"""Handwritten digits that come with scikit-learn: real images, no download.

1797 grey images of 8x8 pixels with values 0 to 16, the test part of E. Alpaydin, C. Kaynak:
Optical Recognition of Handwritten Digits, https://archive.ics.uci.edu/dataset/80
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from mmpretrain.datasets import BaseDataset
from torch.nn import functional as F

from mmbas.registry import DATASETS

SPLITS = ("train", "test")
TEST_SHARE = 0.2
SPLIT_SEED = 0
MAX_VALUE = 16


@DATASETS.register_module()
class Digits(BaseDataset):
    """The digits as the CIFAR networks want them: RGB, 32x32, uint8, 0 to 255.

    A sample is ``dict(img=(image_size, image_size, 3) array, gt_label=int)``, so a pipeline
    starts without ``LoadImageFromFile``. The three channels are equal. Images are scaled up
    bilinearly: nearest neighbour would draw 4x4 blocks, whose edges are not in the data.

    The split is fixed and stratified: of each class, 20 % (rounded) are test images.

    Args:
        split: 'train' (1438 images) or 'test' (359 images).
        pipeline: Transforms, or their configs.
        image_size: Height and width in pixels.
        indices: The first so many samples, or the samples to keep; None keeps all.
        test_mode: True if a failing sample is an error, as in every OpenMMLab dataset.
        lazy_init: True to leave loading to ``full_init()``.

    Raises:
        ValueError: If the split is unknown or the size is not positive.
        ImportError: If scikit-learn is missing.
    """

    METAINFO = {"classes": tuple(str(digit) for digit in range(10))}  # noqa: RUF012

    def __init__(
        self,
        split: str = "train",
        *,
        pipeline: Sequence[dict[str, Any] | Callable] = (),
        image_size: int = 32,
        indices: int | Sequence[int] | None = None,
        test_mode: bool = False,
        lazy_init: bool = False,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"expected split to be one of {SPLITS}, got {split!r}")
        if image_size <= 0:
            raise ValueError(f"expected image_size to be positive, got {image_size}")
        self.split = split
        self.image_size = image_size
        super().__init__(
            ann_file="",
            pipeline=pipeline,
            indices=indices,
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Images and labels of this split, in the order of scikit-learn's list."""
        images, labels = load_digit_arrays()
        kept = split_indices(labels, self.split)
        images = upscale(images[kept], self.image_size)
        return [
            {"img": image, "gt_label": int(label)}
            for image, label in zip(images, labels[kept], strict=True)
        ]

    def extra_repr(self) -> list[str]:
        """The lines of ``repr`` that differ from other datasets."""
        return [f"Split: \t{self.split}", f"Image size: \t{self.image_size}"]


def load_digit_arrays() -> tuple[np.ndarray, np.ndarray]:
    """All images, shape (1797, 8, 8), values 0 to 16, and their labels, shape (1797,).

    Raises:
        ImportError: If scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "expected scikit-learn, which holds the images of mmbas.Digits, got none; "
            "install it with `pip install scikit-learn`"
        ) from error
    digits = load_digits()
    return digits.images, digits.target


def split_indices(labels: np.ndarray, split: str) -> np.ndarray:
    """Sorted positions of the images of a split.

    ``RandomState`` promises the same numbers in every version of numpy, so the split never
    moves.

    Args:
        labels: Shape (N,), the class of each image.
        split: 'train' or 'test'.

    Returns:
        Shape (N_split,).
    """
    random = np.random.RandomState(SPLIT_SEED)
    in_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        shuffled = random.permutation(np.flatnonzero(labels == label))
        in_test[shuffled[: round(TEST_SHARE * len(shuffled))]] = True
    return np.flatnonzero(in_test if split == "test" else ~in_test)


def upscale(images: np.ndarray, image_size: int) -> np.ndarray:
    """Grey images, shape (N, h, w), values 0 to 16, as (N, image_size, image_size, 3) uint8."""
    grey = torch.from_numpy(images.astype(np.float32))[:, None] * (255 / MAX_VALUE)
    large = F.interpolate(grey, size=(image_size, image_size), mode="bilinear")
    bytes_ = large.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)
    return bytes_.permute(0, 2, 3, 1).contiguous().numpy()
