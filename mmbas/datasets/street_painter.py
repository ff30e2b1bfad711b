"""A camera and what it can see in a street, painted into an image and its maps at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import RandomState

SUPERSAMPLING = 2
CAMERA_HEIGHT = 1.6  # metres
HAZE_DISTANCE = 160.0  # metres after which 1/e of a colour is left

# Train ids of Cityscapes.
ROAD, SIDEWALK, BUILDING, POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN = 0, 1, 2, 5, 6, 7
VEGETATION, TERRAIN, SKY, PERSON, CAR, IGNORED = 8, 9, 10, 11, 13, 255

CAR_COLORS = ((160, 20, 25), (35, 60, 120), (205, 205, 200), (30, 30, 34), (120, 125, 130))
CLOTH_COLORS = ((60, 60, 140), (150, 50, 45), (45, 45, 45), (190, 180, 150), (50, 110, 80))
SKIN, GLASS, RUBBER, METAL = (205, 160, 130), (45, 58, 68), (22, 22, 24), (118, 120, 120)

Color = Sequence[float] | np.ndarray
Span = tuple[float, float]


@dataclass(frozen=True)
class Camera:
    """Pinhole camera that looks along a straight street on flat ground.

    Points are in metres: x to the right of the camera, y above the ground, z ahead, z > 0.

    Attributes:
        horizon: Row of the horizon, in pixels of the canvas.
        center: Column of the vanishing point, in pixels of the canvas.
        focal: Focal length, in pixels of the canvas.
    """

    horizon: float
    center: float
    focal: float

    def project(self, points: Sequence[Sequence[float]]) -> np.ndarray:
        """Columns and rows of points, shape (P, 2)."""
        x, y, z = np.asarray(points, dtype=np.float64).T
        columns = self.center + self.focal * x / z
        rows = self.horizon + self.focal * (CAMERA_HEIGHT - y) / z
        return np.stack([columns, rows], axis=1)


class Canvas:
    """Image, label map and map of things, all ``SUPERSAMPLING`` times as large as the result.

    What is painted later hides what was painted before, so the far comes first.

    Args:
        height: Height of the result, in pixels.
        width: Width of the result, in pixels.
        camera: Projects the shapes.
        haze: Colour that distant things fade to.

    Attributes:
        thing: Number of the thing that is being painted, 0 for what is none, such as the road.
    """

    def __init__(self, height: int, width: int, camera: Camera, haze: Color) -> None:
        self.camera = camera
        self.haze = np.asarray(haze, dtype=np.float64)
        shape = (height * SUPERSAMPLING, width * SUPERSAMPLING)
        self.image = np.zeros((*shape, 3), dtype=np.uint8)
        self.labels = np.full(shape, IGNORED, dtype=np.uint8)
        self.things = np.zeros(shape, dtype=np.uint8)
        self.thing = 0

    def polygon(
        self, points: Sequence[Sequence[float]], color: Color, label: int | None = None
    ) -> None:
        """Fill a polygon in space; with label None the labels below it stay."""
        corners = np.clip(np.rint(self.camera.project(points)), -20_000, 20_000).astype(np.int32)
        cv2.fillPoly(self.image, [corners], self._seen(color, min(point[2] for point in points)))
        if label is not None:
            cv2.fillPoly(self.labels, [corners], label)
            cv2.fillPoly(self.things, [corners], self.thing)

    def ground(self, x: Span, z: Span, color: Color, label: int | None = None) -> None:
        """Fill a rectangle on the ground."""
        corners = [(x[0], 0, z[0]), (x[1], 0, z[0]), (x[1], 0, z[1]), (x[0], 0, z[1])]
        self.polygon(corners, color, label)

    def wall(self, x: float, y: Span, z: Span, color: Color, label: int | None = None) -> None:
        """Fill a rectangle along the street."""
        corners = [(x, y[0], z[0]), (x, y[1], z[0]), (x, y[1], z[1]), (x, y[0], z[1])]
        self.polygon(corners, color, label)

    def front(self, x: Span, y: Span, z: float, color: Color, label: int | None = None) -> None:
        """Fill a rectangle that faces the camera."""
        corners = [(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)]
        self.polygon(corners, color, label)

    def disc(
        self, at: Sequence[float], radii: Span, color: Color, label: int | None = None
    ) -> None:
        """Fill an ellipse that faces the camera."""
        turns = np.linspace(0, 2 * math.pi, 20, endpoint=False)
        ring = [
            (at[0] + radii[0] * math.cos(turn), at[1] + radii[1] * math.sin(turn), at[2])
            for turn in turns
        ]
        self.polygon(ring, color, label)

    def _seen(self, color: Color, distance: float) -> list[float]:
        kept = math.exp(-distance / HAZE_DISTANCE)
        mixed = kept * np.asarray(color, dtype=np.float64) + (1 - kept) * self.haze
        return [float(channel) for channel in np.clip(mixed, 0, 255)]


def paint_building(canvas: Canvas, x: float, z: Span, random: RandomState) -> None:
    """A house front along the street at ``x``, from the near to the far end of ``z``."""
    height = random.uniform(6, 17)
    base = np.array((168, 150, 132)) + random.uniform(-45, 45) + random.uniform(-18, 18, 3)
    away = math.copysign(8, x)
    canvas.front((x, x + away), (0, height), z[0], 0.72 * base, BUILDING)
    canvas.wall(x, (0, height), z, base, BUILDING)
    canvas.wall(x, (0, 0.9), z, 0.62 * base)
    canvas.wall(x, (height - 0.5, height), z, 0.8 * base)
    glass = np.array(GLASS) + random.uniform(0, 50)
    floor, bay = random.uniform(2.9, 3.5), random.uniform(2.2, 3.2)
    for bottom in np.arange(1.3, height - 2.2, floor):
        for near in np.arange(z[0] + 0.6, z[1] - 1.4, bay):
            canvas.wall(x, (bottom - 0.12, bottom + 1.72), (near - 0.1, near + 1.3), 1.12 * base)
            canvas.wall(x, (bottom, bottom + 1.6), (near, near + 1.2), glass)


def paint_tree(canvas: Canvas, x: float, z: float, random: RandomState) -> None:
    """A trunk and a crown of leaves."""
    height, spread = random.uniform(4.5, 8), random.uniform(1.2, 2.1)
    canvas.front((x - 0.14, x + 0.14), (0, height * 0.6), z, (74, 58, 44), VEGETATION)
    leaves = np.array((62, 92, 44)) + random.uniform(-18, 18)
    for shade in np.linspace(0.7, 1.25, 16):
        at = (x + random.normal(0, spread / 2.2), height * 0.72 + random.normal(0, spread / 2), z)
        size = spread * random.uniform(0.35, 0.6)
        canvas.disc(at, (size, 0.85 * size), shade * leaves, VEGETATION)


def paint_car(canvas: Canvas, x: float, z: float, random: RandomState) -> None:
    """A car seen from behind, its near end at ``z``, with the side that faces the camera."""
    half, length = 0.9, random.uniform(3.8, 4.6)
    roof, deck = random.uniform(1.4, 1.75), 0.88
    paint = np.array(CAR_COLORS[random.randint(len(CAR_COLORS))]) + random.uniform(-12, 12, 3)
    canvas.ground((x - half - 0.15, x + half + 0.15), (z - 0.3, z + length), (38, 38, 40))
    side = x - math.copysign(half, x)
    for near in (z + 0.5, z + length - 1.1):
        canvas.wall(side, (0, 0.62), (near, near + 0.6), RUBBER, CAR)
    canvas.wall(side, (0.28, deck), (z, z + length), 0.8 * paint, CAR)
    cabin = [(side, deck, z), (side, roof, z + 0.5), (side, roof, z + 2.4), (side, deck, z + 3.2)]
    canvas.polygon(cabin, 0.7 * paint, CAR)
    canvas.wall(side, (deck + 0.08, roof - 0.1), (z + 0.6, z + 2.3), GLASS)
    for wheel in (x - half, x + half - 0.24):
        canvas.front((wheel, wheel + 0.24), (0, 0.5), z, RUBBER, CAR)
    canvas.front((x - half, x + half), (0.28, deck), z, paint, CAR)
    inner = half - 0.16
    rear = [(x - half, deck, z), (x + half, deck, z), (x + inner, roof, z), (x - inner, roof, z)]
    canvas.polygon(rear, paint, CAR)
    canvas.front((x - inner + 0.05, x + inner - 0.05), (deck + 0.08, roof - 0.1), z, GLASS)
    for lamp in (x - half + 0.04, x + half - 0.3):
        canvas.front((lamp, lamp + 0.26), (0.62, 0.8), z, (190, 25, 20))
    canvas.front((x - 0.26, x + 0.26), (0.46, 0.58), z, (225, 225, 215))
    canvas.front((x - half, x + half), (0.28, 0.4), z, 0.5 * paint)


def paint_person(canvas: Canvas, x: float, z: float, random: RandomState) -> None:
    """Somebody who stands or walks."""
    height, stride = random.uniform(1.55, 1.9), random.uniform(0.04, 0.22)
    cloth, trousers = (
        np.array(CLOTH_COLORS[random.randint(len(CLOTH_COLORS))]) + random.uniform(-15, 15)
        for _ in range(2)
    )
    hip, neck = 0.5 * height, 0.84 * height
    canvas.ground((x - 0.3, x + 0.3), (z - 0.1, z + 0.15), (60, 60, 62))
    for foot in (-stride, stride):
        leg = [(x + foot - 0.09, 0, z), (x + foot + 0.09, 0, z)]
        canvas.polygon([*leg, (x + 0.15, hip, z), (x - 0.15, hip, z)], 0.75 * trousers, PERSON)
    for arm in (-0.27, 0.27):
        canvas.disc((x + arm, 0.66 * height, z), (0.075, 0.3), 0.85 * cloth, PERSON)
    torso = [(x - 0.18, hip, z), (x + 0.18, hip, z), (x + 0.25, neck, z), (x - 0.25, neck, z)]
    canvas.polygon(torso, cloth, PERSON)
    canvas.disc((x, 0.92 * height, z), (0.115, 0.15), SKIN, PERSON)
    canvas.disc((x, 0.96 * height, z), (0.12, 0.1), (50, 38, 30), PERSON)


def paint_pole(canvas: Canvas, x: float, z: float, random: RandomState) -> None:
    """A pole that carries a lamp, a sign or a traffic light."""
    kind = random.choice(("lamp", "sign", "light"))
    height = {"lamp": 7.0, "sign": 2.7, "light": 3.6}[kind] + random.uniform(-0.3, 0.5)
    canvas.front((x - 0.075, x + 0.075), (0, height), z, METAL, POLE)
    if kind == "lamp":
        arm = x - math.copysign(1.4, x)
        canvas.front((min(x, arm), max(x, arm)), (height - 0.12, height), z, METAL, POLE)
        canvas.front((arm - 0.3, arm + 0.3), (height - 0.22, height - 0.05), z, (70, 70, 70), POLE)
    elif kind == "sign":
        paint_sign(canvas, (x, height, z), random)
    else:
        canvas.front((x - 0.2, x + 0.2), (height - 0.95, height), z, (24, 28, 26), TRAFFIC_LIGHT)
        lit = random.randint(3)
        for i, color in enumerate(((235, 45, 30), (245, 190, 40), (40, 215, 110))):
            bright = 1.0 if i == lit else 0.25
            at = (x, height - 0.2 - 0.28 * i, z)
            canvas.disc(at, (0.11, 0.11), bright * np.array(color))


def paint_sign(canvas: Canvas, at: Sequence[float], random: RandomState) -> None:
    """A round, triangular or square sign around the point ``at``."""
    x, y, z = at
    kind = random.randint(3)
    if kind == 0:
        canvas.disc(at, (0.36, 0.36), (200, 30, 35), TRAFFIC_SIGN)
        canvas.disc(at, (0.25, 0.25), (240, 240, 240))
    elif kind == 1:
        for size, color in ((0.42, (200, 30, 35)), (0.25, (240, 240, 240))):
            low, high = y - 0.6 * size, y + 0.9 * size
            corners = [(x - size, low, z), (x + size, low, z), (x, high, z)]
            canvas.polygon(corners, color, TRAFFIC_SIGN)
    else:
        canvas.front((x - 0.33, x + 0.33), (y - 0.33, y + 0.33), z, (30, 75, 170), TRAFFIC_SIGN)
        canvas.front((x - 0.08, x + 0.08), (y - 0.2, y + 0.2), z, (240, 240, 240))
