"""Street scenes drawn by a program, in the folders and with the labels of Cityscapes.

They stand in for Cityscapes (https://www.cityscapes-dataset.com, not redistributable) where a small
data set must exercise the same code: MMSegmentation's ``CityscapesDataset`` reads them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import RandomState

from mmbas.datasets.scene_boxes import Box, boxes_of, write_coco
from mmbas.datasets.street_painter import (
    IGNORED,
    ROAD,
    SIDEWALK,
    SKY,
    SUPERSAMPLING,
    TERRAIN,
    VEGETATION,
    Camera,
    Canvas,
    paint_building,
    paint_car,
    paint_person,
    paint_pole,
    paint_tree,
)

SPLITS = ("train", "val")
# The "cities", from the easiest to the hardest image: how many things stand in the street.
CLUTTER_LEVELS = ("empty", "quiet", "busy", "crowded")
MIN_SIZE = 32
NEAR, FAR = 1.2, 110.0  # metres ahead
CATEGORY_OF = {paint_car: "car", paint_person: "person", paint_pole: "pole"}


class Scene(NamedTuple):
    """One street.

    Attributes:
        image: Shape (H, W, 3), RGB, uint8.
        labels: Train ids of Cityscapes, shape (H, W), uint8; 255 for the bonnet of the own car.
        boxes: The cars, persons and poles that can be seen.
    """

    image: np.ndarray
    labels: np.ndarray
    boxes: list[Box]


def write_street_scenes(
    root: str | Path,
    *,
    num_train: int = 48,
    num_val: int = 12,
    size: tuple[int, int] = (96, 192),
    seed: int = 0,
    coco: bool = False,
) -> list[Path]:
    """Draw a data set; the same arguments give the same pixels.

    Image i of a split has the clutter ``CLUTTER_LEVELS[i % 4]``, which also names its city::

        root/leftImg8bit/train/busy/busy_000002_000000_leftImg8bit.png
        root/gtFine/train/busy/busy_000002_000000_gtFine_labelTrainIds.png
        root/annotations/instances_train.json

    Args:
        root: Folder of the data set, made where it is missing.
        num_train: Number of training images.
        num_val: Number of validation images.
        size: Height and width in pixels.
        seed: Seed of the whole data set.
        coco: Also write the boxes of cars, persons and poles, as COCO has them.

    Returns:
        The images, in the order in which they were drawn.

    Raises:
        ValueError: If a count or the size is too small, or the folder already has such images.
    """
    counts = dict(zip(SPLITS, (num_train, num_val), strict=True))
    for split, count in counts.items():
        if count < 1:
            raise ValueError(f"expected at least 1 image to {split}, but got {count}")
    present = next(Path(root).glob("leftImg8bit/*/*/*.png"), None)
    if present is not None:
        raise ValueError(
            f"expected a folder without images, but {present} exists; two data sets would mix: "
            "remove that one or name another folder"
        )
    paths = []
    for split_number, split in enumerate(SPLITS):
        boxes: dict[str, list[Box]] = {}
        for i in range(counts[split]):
            level = i % len(CLUTTER_LEVELS)
            random = RandomState([seed, split_number, i])
            scene = paint_scene(random, size=size, clutter=level)
            name = f"{CLUTTER_LEVELS[level]}_{i:06d}"
            paths.append(_write(Path(root), split, name, scene.image))
            _write(Path(root), split, name, scene.labels)
            boxes[paths[-1].relative_to(root).as_posix()] = scene.boxes
        if coco:
            write_coco(Path(root) / "annotations" / f"instances_{split}.json", boxes, size=size)
    return paths


def draw_scene(
    random: RandomState, *, size: tuple[int, int] = (96, 192), clutter: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one street.

    Args:
        random: Source of everything that differs between two streets.
        size: Height and width in pixels, both at least 32.
        clutter: 0 (an empty street) to 3 (crowded).

    Returns:
        Image, shape (H, W, 3), RGB, uint8, and labels, shape (H, W), uint8: train ids of
        Cityscapes, 255 for the bonnet of the own car.

    Raises:
        ValueError: If the size is too small or the clutter unknown.
    """
    scene = paint_scene(random, size=size, clutter=clutter)
    return scene.image, scene.labels


def paint_scene(random: RandomState, *, size: tuple[int, int], clutter: int) -> Scene:
    """One street of :func:`draw_scene`, with the boxes of its things."""
    if min(size) < MIN_SIZE:
        raise ValueError(f"expected a height and width of at least {MIN_SIZE}, but got {size}")
    if not 0 <= clutter < len(CLUTTER_LEVELS):
        raise ValueError(f"expected clutter from 0 to {len(CLUTTER_LEVELS) - 1}, but got {clutter}")
    height, width = size
    rows, columns = height * SUPERSAMPLING, width * SUPERSAMPLING
    camera = Camera(
        horizon=rows * random.uniform(0.4, 0.5),
        center=columns * random.uniform(0.4, 0.6),
        focal=rows * random.uniform(0.9, 1.2),
    )
    sky = np.array((150, 175, 205)) + random.uniform(-30, 30) + random.uniform(-12, 12, 3)
    canvas = Canvas(height, width, camera, haze=0.95 * sky)
    road_half = random.uniform(3.6, 5.0)
    house_line = road_half + random.uniform(2.2, 3.4)
    _paint_sky(canvas, sky)
    _paint_ground(canvas, road_half, house_line, random)
    _paint_sides(canvas, house_line, random, green=random.uniform(0.1, 0.5))
    categories = _paint_things(canvas, road_half, clutter, random)
    _paint_bonnet(canvas)
    image, labels = _expose(canvas, random)
    things = canvas.things[::SUPERSAMPLING, ::SUPERSAMPLING]
    return Scene(image, labels, boxes_of(things, categories))


def _paint_sky(canvas: Canvas, sky: np.ndarray) -> None:
    horizon = round(canvas.camera.horizon)
    share = np.linspace(0, 1, horizon)[:, None, None]
    gradient = (1 - share) * 0.85 * sky + share * np.minimum(1.15 * sky, 250)
    canvas.image[:horizon] = np.clip(gradient, 0, 255)
    canvas.labels[:horizon] = SKY


def _paint_ground(canvas: Canvas, road_half: float, house_line: float, random: RandomState) -> None:
    horizon = round(canvas.camera.horizon)
    grass = np.array((96, 112, 66)) + random.uniform(-15, 15)
    canvas.image[horizon:], canvas.labels[horizon:] = grass, TERRAIN
    asphalt = np.array((92, 92, 95)) + random.uniform(-22, 22)
    paving = np.array((140, 134, 126)) + random.uniform(-18, 18)
    canvas.ground((-house_line, house_line), (NEAR, FAR), paving, SIDEWALK)
    for z in np.arange(2.0, 40.0, 1.5):
        canvas.ground((-house_line, house_line), (z, z + 0.05), 0.86 * paving)
    canvas.ground((-road_half - 0.15, road_half + 0.15), (NEAR, FAR), 1.15 * paving)
    canvas.ground((-road_half, road_half), (NEAR, FAR), asphalt, ROAD)
    for _ in range(6):  # patches and shadows
        x, z = random.uniform(-road_half, road_half - 1.5), random.uniform(3, 35)
        patch = (x, min(x + random.uniform(0.5, 3), road_half))
        canvas.ground(patch, (z, z + random.uniform(0.5, 4)), asphalt * random.uniform(0.8, 1.12))
    for z in np.arange(random.uniform(1.5, 5), 70, 6.0):
        canvas.ground((-0.08, 0.08), (z, z + 3), (215, 215, 210))
    if random.uniform() < 0.3:
        z = random.uniform(7, 14)
        for x in np.arange(-road_half + 0.3, road_half - 0.5, 1.0):
            canvas.ground((x, x + 0.5), (z, z + 3), (220, 220, 215))


def _paint_sides(canvas: Canvas, house_line: float, random: RandomState, *, green: float) -> None:
    """Houses and green gaps on both sides; the far end of the street is closed by trees."""
    for x in np.arange(-60, 60, 3.0):
        at = (x, random.uniform(0.5, 2.5), FAR)
        canvas.disc(at, (4, random.uniform(2, 4)), (70, 92, 60), VEGETATION)
    plots = []
    for side in (-1, 1):
        z = NEAR
        while z < FAR:
            length = random.uniform(7, 16)
            plots.append((side, z, min(z + length, FAR)))
            z += length
    for side, near, far in sorted(plots, key=lambda plot: -plot[1]):
        x = side * (house_line + random.uniform(0, 0.6))
        if random.uniform() >= green:
            paint_building(canvas, x, (near, far), random)
            continue
        hedge = np.array((58, 84, 42)) + random.uniform(-12, 12)
        canvas.wall(x, (0, random.uniform(0.8, 1.6)), (near, far), hedge, VEGETATION)
        for z in np.arange(far - 2, near + 1, -4.5):
            paint_tree(canvas, x + side * random.uniform(1.5, 4), z, random)


def _paint_things(
    canvas: Canvas, road_half: float, clutter: int, random: RandomState
) -> dict[int, str]:
    """Cars, persons, poles and trees, the far ones first.

    Returns:
        The categories of the things by their numbers; trees are of none.
    """
    categories = {}
    ranges = {  # fewest and most of each, by clutter
        paint_car: ((0, 1), (1, 3), (4, 7), (8, 12)),
        paint_person: ((0, 0), (0, 2), (3, 7), (10, 18)),
        paint_pole: ((0, 2), (1, 4), (3, 6), (5, 9)),
        paint_tree: ((0, 1), (0, 3), (1, 4), (2, 5)),
    }
    things = []
    for paint, levels in ranges.items():
        fewest, most = levels[clutter]
        for _ in range(random.randint(fewest, most + 1)):
            # Uniform in log z: near and far, large and small things are equally likely.
            z = math.exp(random.uniform(math.log(5.5), math.log(60)))
            side = random.choice((-1, 1))
            things.append((z, paint, side))
    farthest_first = sorted(things, key=lambda thing: -thing[0])
    for canvas.thing, (z, paint, side) in enumerate(farthest_first, start=1):
        if paint is paint_car:
            parked = random.uniform() < 0.45
            x = road_half - 1.05 if parked else road_half / 2 + random.uniform(-0.3, 0.3)
        elif paint is paint_person:
            crosses = random.uniform() < 0.2
            x = random.uniform(0.3, road_half) if crosses else road_half + random.uniform(0.4, 2)
        else:
            x = road_half + (0.35 if paint is paint_pole else 1.0)
        paint(canvas, side * x, z, random)
        if paint in CATEGORY_OF:
            categories[canvas.thing] = CATEGORY_OF[paint]
    return categories


def _paint_bonnet(canvas: Canvas) -> None:
    """The own car at the lower edge, which Cityscapes ignores."""
    rows, columns = canvas.labels.shape
    center, axes = (columns // 2, round(rows * 1.06)), (round(columns * 0.42), round(rows * 0.12))
    cv2.ellipse(canvas.image, center, axes, 0, 0, 360, (34, 36, 40), -1)
    cv2.ellipse(canvas.labels, center, axes, 0, 0, 360, IGNORED, -1)
    cv2.ellipse(canvas.things, center, axes, 0, 0, 360, 0, -1)


def _expose(canvas: Canvas, random: RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Down to the final size, with light, colour cast, grain and rounding."""
    rows, columns = canvas.labels.shape
    size = (columns // SUPERSAMPLING, rows // SUPERSAMPLING)
    image = cv2.resize(canvas.image, size, interpolation=cv2.INTER_AREA).astype(np.float64)
    image *= random.uniform(0.6, 1.15) * random.uniform(0.95, 1.05, 3)
    image += random.normal(0, random.uniform(1, 6), image.shape)
    labels = canvas.labels[::SUPERSAMPLING, ::SUPERSAMPLING]
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), labels.copy()


def _write(root: Path, split: str, name: str, pixels: np.ndarray) -> Path:
    """Write an image (three channels) or a label map to its place."""
    is_image = pixels.ndim == 3
    kind, ending = ("leftImg8bit",) * 2 if is_image else ("gtFine", "gtFine_labelTrainIds")
    path = root / kind / split / name.split("_")[0] / f"{name}_000000_{ending}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), pixels[..., ::-1] if is_image else pixels):
        raise ValueError(f"expected to write {path}, but OpenCV could not")
    return path
