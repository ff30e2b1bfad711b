"""The handwritten digits as class folders of picture files: a stand-in for own images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mmbas.datasets.digits import MAX_VALUE, SPLITS, load_digit_arrays, split_indices


def write_digit_folders(
    root: str | Path, *, num_train: int | None = None, num_test: int | None = None
) -> list[Path]:
    """Write the digits as grey PNG files of 8x8 pixels, as they are.

    The split is that of :class:`mmbas.datasets.Digits`; the files are
    ``root/{train,test}/CLASS/NUMBER.png``.

    Args:
        root: Folder of the data set, made where it is missing.
        num_train: Only so many training images, chosen evenly over the classes; None for all.
        num_test: The same for test images.

    Returns:
        Paths of the files.

    Raises:
        ValueError: If the folder holds pictures already, or a number is not positive.
        ImportError: If scikit-learn is missing.
    """
    folder = Path(root)
    if any(folder.rglob("*.png")):
        raise ValueError(f"expected no pictures in {folder}, but it has some; name another folder")
    images, labels = load_digit_arrays()
    paths = []
    for split, wanted in zip(SPLITS, (num_train, num_test), strict=True):
        for number in _evenly(labels, split_indices(labels, split), wanted):
            path = folder / split / str(labels[number]) / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            grey = (images[number] * (255 / MAX_VALUE)).round().astype(np.uint8)
            Image.fromarray(grey).save(path)
            paths.append(path)
    return paths


def _evenly(labels: np.ndarray, positions: np.ndarray, wanted: int | None) -> np.ndarray:
    """The first ``wanted`` positions, taking turns between the classes."""
    if wanted is None:
        return positions
    if wanted < 1:
        raise ValueError(f"expected at least one image, but got {wanted}")
    turns = np.empty(len(positions), dtype=int)
    for label in np.unique(labels):
        of_label = np.flatnonzero(labels[positions] == label)
        turns[of_label] = np.arange(len(of_label))
    return positions[np.argsort(turns, kind="stable")[:wanted]]
