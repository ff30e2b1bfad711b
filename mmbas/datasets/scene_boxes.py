"""Boxes of the things in a drawn street, in the format of COCO (https://cocodataset.org)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CATEGORIES = ("car", "person", "pole")  # numbered from 1 in the files
# What fewer pixels show, or a narrower or lower box, is left out: nobody could tell what it is.
MIN_PIXELS, MIN_SIDE = 12, 3


class Box(NamedTuple):
    """The visible part of one thing, in pixels.

    Attributes:
        category: One of ``CATEGORIES``.
        left: First column.
        top: First row.
        width: Number of columns.
        height: Number of rows.
        area: Visible pixels, at most ``width * height``.
    """

    category: str
    left: int
    top: int
    width: int
    height: int
    area: int


def boxes_of(things: np.ndarray, categories: Mapping[int, str]) -> list[Box]:
    """Boxes of the things of an image, the nearest last; small ones are left out.

    Args:
        things: Number of the thing that each pixel shows, shape (H, W), integers.
        categories: Categories by these numbers; things without one have no box.

    Example:
        >>> import numpy as np
        >>> from mmbas.datasets.scene_boxes import boxes_of
        >>> things = np.zeros((8, 10), dtype=np.uint8)
        >>> things[2:6, 1:5] = 1
        >>> things[4:8, 3:9] = 2  # hides a corner of the first
        >>> [tuple(box) for box in boxes_of(things, {1: "car", 2: "person"})]
        [('car', 1, 2, 4, 4, 12), ('person', 3, 4, 6, 4, 24)]
    """
    boxes = []
    for number in sorted(categories):
        rows, columns = (things == number).nonzero()
        if len(rows) < MIN_PIXELS:
            continue
        left, top = int(columns.min()), int(rows.min())
        width, height = int(columns.max()) - left + 1, int(rows.max()) - top + 1
        if min(width, height) >= MIN_SIDE:
            boxes.append(Box(categories[number], left, top, width, height, len(rows)))
    return boxes


def write_coco(path: Path, boxes: Mapping[str, Sequence[Box]], *, size: tuple[int, int]) -> None:
    """Write the boxes of a data set as COCO's ``instances_*.json``.

    Args:
        path: The file; its folder is made where it is missing.
        boxes: Boxes of each image, by the image's path in the folder of the data set.
        size: Height and width of the images.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i, (name, found) in enumerate(boxes.items()):
        images.append(dict(id=i, file_name=name, height=size[0], width=size[1]))
        annotations += [
            dict(
                id=len(annotations) + j,
                image_id=i,
                category_id=1 + CATEGORIES.index(box.category),
                bbox=[box.left, box.top, box.width, box.height],
                area=box.area,
                iscrowd=0,
            )
            for j, box in enumerate(found, start=1)
        ]
    categories = [dict(id=1 + i, name=name) for i, name in enumerate(CATEGORIES)]
    content = dict(images=images, annotations=annotations, categories=categories)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
