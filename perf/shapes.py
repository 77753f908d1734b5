"""A folder of drawn shapes that a small network can learn to tell apart: for tests and measurements of small data."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = {"circle": (0, (230, 60, 50)), "square": (4, (60, 200, 80)), "triangle": (3, (60, 90, 230))}
"""Class → corners, and the colour about which a shape's own lies."""
SIDE = 64


def draw_shapes(folder: Path, images_per_class: Mapping[str, int]) -> None:
    """Writes `folder/<split>/<shape>/<number>.png`: shapes of any place, size and turn on a noisy ground."""
    rng = np.random.default_rng(0)
    for split, count in images_per_class.items():
        for name, (corners, colour) in SHAPES.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                _drawn(corners, colour, rng).save(folder / split / name / f"{number}.png")


def _drawn(corners: int, colour: tuple[int, int, int], rng: np.random.Generator) -> Image.Image:
    ground = rng.integers(90, 150, (SIDE, SIDE, 3)).astype(np.uint8)
    image = Image.fromarray(ground)
    radius = rng.uniform(14, 22)
    fill = tuple(int(value) for value in np.clip(rng.normal(colour, 40), 0, 255))
    x, y = rng.uniform(radius, SIDE - radius, 2)
    draw = ImageDraw.Draw(image)
    if corners:
        draw.regular_polygon((x, y, radius), corners, rotation=math.degrees(rng.uniform(0, 2 * math.pi)), fill=fill)
    else:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    return image
