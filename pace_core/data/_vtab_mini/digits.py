"""Which handwritten digit is this? A real digit of scikit-learn's collection, bright on dark, among clutter.

Asks for shape against size, place, slant and colour; dim strokes and pieces of other digits lie around and under it.
Every source digit belongs to one split, so no digit of the test is seen in training.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

from pace_core.data._vtab_mini import _canvas as canvas
from pace_core.data._vtab_mini._task import Task

CLASS_NAMES = tuple("0123456789")

SHARES = {"train": 0.4, "val": 0.1, "test": 0.5}
"""Of the 1,797 source digits."""


@cache
def sources(split: str) -> tuple[tuple[NDArray[np.float64], ...], ...]:
    """Returns the split's own digits by class, each enlarged from 8x8 to 32x32 with values in 0..1."""
    images, labels = (np.asarray(column) for column in load_digits(return_X_y=True))
    order = np.random.Generator(np.random.PCG64(20241209)).permutation(len(images))
    stops = np.cumsum([round(share * len(images)) for share in SHARES.values()])
    chosen = np.split(order, stops[:-1])[list(SHARES).index(split)]
    return tuple(tuple(_enlarged(images[i]) for i in chosen if labels[i] == label) for label in range(10))


def _enlarged(values: NDArray[np.float64]) -> NDArray[np.float64]:
    smooth = np.asarray(zoom(values.reshape(8, 8) / 16.0, 4, order=3))
    return np.clip((smooth - 0.25) / 0.45, 0.0, 1.0)


def draw(label: int, split: str, rng: np.random.Generator) -> canvas.Picture:
    """Draws one digit of that class in a cluttered picture."""
    by_class = sources(split)
    ground, ink = sorted(canvas.contrast_pair(0.5, rng), key=np.mean)
    picture = canvas.backdrop(ground, 0.08, rng)

    def near_ink() -> NDArray[np.float64]:
        return ground + rng.uniform(0.25, 0.5) * (ink - ground)

    for _ in range(rng.integers(1, 3)):
        other = by_class[rng.integers(10)]
        _stamp(
            picture, _piece(other[rng.integers(len(other))], rng), rng.uniform(0, canvas.SIZE, 2), 24, near_ink(), rng
        )
    canvas.strokes(picture, int(rng.integers(1, 3)), rng, near_ink)
    digit = by_class[label][rng.integers(len(by_class[label]))]
    height = rng.uniform(38, 50)
    _stamp(picture, digit, rng.uniform(height / 2, canvas.SIZE - height / 2, 2), height, ink, rng)
    return canvas.with_noise(picture, 0.04, rng)


def _piece(digit: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    row, column = rng.integers(0, 18, 2)
    return digit[row : row + 14, column : column + 14]


def _stamp(
    picture: canvas.Picture,
    stencil: NDArray[np.float64],
    centre: NDArray[np.float64],
    height: float,
    colour: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    patch = canvas.Patch.around(picture, centre[0], centre[1], height)
    u, v = patch.frame(centre[0], centre[1], math.radians(rng.uniform(-15, 15)))
    scale, slant, stretch = 32 / height, rng.uniform(-0.15, 0.15), rng.uniform(0.8, 1.15)
    patch.paint(canvas.sample(stencil, (u + slant * v) * scale * stretch, v * scale), colour)


TASK = Task(
    name="digits",
    title="Digits",
    class_names=CLASS_NAMES,
    draw=draw,
)
