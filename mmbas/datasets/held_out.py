"""Training images kept aside, to choose hyper-parameters on."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS as HOST_DATASETS

from mmbas.registry import DATASETS


@DATASETS.register_module()
class HeldOut:
    """One of the two parts of a data set that a fixed permutation makes.

    Both parts are given the same ``dataset``, ``num_held_out`` and ``seed``, so no image is in
    both, whatever their pipelines.

    Args:
        dataset: Config of the data set; its own pipeline applies.
        num_held_out: Images of the held-out part.
        part: ``'held_out'`` or ``'rest'``.
        max_images: Keep only so many of the part; None keeps all.
        seed: Seed of the permutation.

    Raises:
        ValueError: If part is neither, or the data set has too few images.
    """

    def __init__(
        self,
        dataset: dict[str, Any],
        *,
        num_held_out: int,
        part: str,
        max_images: int | None = None,
        seed: int = 0,
    ) -> None:
        self.dataset: BaseDataset = HOST_DATASETS.build(dataset)
        if hasattr(self.dataset, "full_init"):  # plain torch's data sets have none
            self.dataset.full_init()
        num_images = len(self.dataset)
        if not 0 < num_held_out < num_images:
            raise ValueError(
                f"expected num_held_out between 1 and {num_images - 1} of {num_images} images, "
                f"but got {num_held_out}"
            )
        order = np.random.default_rng(seed).permutation(num_images)
        if part == "held_out":
            order = order[:num_held_out]
        elif part == "rest":
            order = order[num_held_out:]
        else:
            raise ValueError(f"expected part 'held_out' or 'rest', but got {part!r}")
        self.indices = order[:max_images]

    @property
    def metainfo(self) -> dict[str, Any]:
        """Facts of the whole data set; empty for one of plain torch."""
        return getattr(self.dataset, "metainfo", {})

    def full_init(self) -> None:
        """Nothing to do: it happened at the start."""

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Annotation of an image, as the hosts' data sets give it."""
        return self.dataset.get_data_info(int(self.indices[index]))

    def get_cat_ids(self, index: int) -> list[int]:
        """Classes of an image, which ``ClassBalancedDataset`` asks for."""
        return self.dataset.get_cat_ids(int(self.indices[index]))

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def __len__(self) -> int:
        return len(self.indices)
