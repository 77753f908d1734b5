"""Random crops of the photographs that come inside packages; NOTICE names their authors and licences.

Left out of scikit-image's: `motorcycle_left`, `motorcycle_right`, `page`, `color` and `moon`, for which no licence was
found, and `cell`, `ihc` and `text`, which look like what the benchmark's tasks draw. Debian's package
`lomiri-wallpapers-16.04` is optional: its ten photographs of CC-BY-4.0 or CC0 are used where it is installed.
"""

import importlib.resources
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SCIKIT_IMAGE = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "rocket.jpg",
)
SCIKIT_LEARN = ("china.jpg", "flower.jpg")
DEBIAN_FOLDER = Path("/usr/share/backgrounds")
DEBIAN = (
    "aitzgorri_by_Aitzol_Berasategi.jpg",
    "friends_by_Aitzol_Berasategi.jpg",
    "life_by_Aitzol_Berasategi.jpg",
    "picosdeeuropa_by_Aitzol_Berasategi.jpg",
    "Picture_0B_by_freespace.jpg",
    "Picture_1A_by_freespace.jpg",
    "seeding_by_Clements_Engelhardt.jpg",
    "sunset_by_Aitzol_Berasategi.jpg",
    "umang_by_Abhishek_Mudgal.jpg",
    "Wine_by_Jakkub_Mede.jpg",
)
LARGEST_SIDE = 2048
SMALLEST_CROP = 80
"""Pixels of the original; a smaller crop would be blur."""

Pyramid = list[Image.Image]
"""A photograph and its halvings, largest first."""


def load_photographs() -> list[Pyramid]:
    """Loads every photograph found, as a pyramid of sizes, so that a crop reads about as many pixels as it shows."""
    packaged = [importlib.resources.files("skimage") / "data" / name for name in SCIKIT_IMAGE]
    packaged += [importlib.resources.files("sklearn") / "datasets" / "images" / name for name in SCIKIT_LEARN]
    paths = [Path(str(path)) for path in packaged]
    paths += [path for path in (DEBIAN_FOLDER / name for name in DEBIAN) if path.exists()]
    return [_pyramid(path) for path in paths]


def crop(pyramid: Pyramid, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cuts a square [size, size, 3] out of the photograph: random place, scale, rotation, aspect and mirroring."""
    width, height = pyramid[0].size
    angle = rng.normal(0, 0.4)
    aspect = math.exp(rng.uniform(-0.2, 0.2))
    cos, sin = math.cos(angle), math.sin(angle)
    reach = (abs(cos) + abs(sin)) * max(aspect, 1 / aspect)  # bounding box of the turned square, per unit of side
    largest = min(width, height) / reach
    side = math.exp(rng.uniform(math.log(min(SMALLEST_CROP, largest)), math.log(largest)))
    margin = side * reach / 2
    x, y = rng.uniform(margin, width - margin), rng.uniform(margin, height - margin)
    level = min(max(int(math.log2(side / size)), 0), len(pyramid) - 1)
    step = side / size / 2**level
    mirror = -1 if rng.random() < 0.5 else 1
    across = (step * aspect * cos * mirror, step * aspect * sin * mirror)
    down = (-step / aspect * sin, step / aspect * cos)
    half = size / 2
    origin = (
        x / 2**level - half * (across[0] + down[0]),
        y / 2**level - half * (across[1] + down[1]),
    )
    affine = (across[0], down[0], origin[0], across[1], down[1], origin[1])
    view = pyramid[level].transform((size, size), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    return np.asarray(view)


def _pyramid(path: Path) -> Pyramid:
    with Image.open(path) as image:
        image.draft("RGB", (LARGEST_SIDE, LARGEST_SIDE))
        photograph = image.convert("RGB")
    photograph.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    levels = [photograph]
    while min(levels[-1].size) >= 2 * SMALLEST_CROP:
        levels.append(levels[-1].reduce(2))
    return levels
