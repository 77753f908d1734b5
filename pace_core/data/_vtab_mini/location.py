"""Where is the figure? The horizontal place of a square, ellipse or heart, in sixteen columns, as in dSprites.

Asks for place to within three pixels, whatever the figure, its size, turn, height, colour and polarity; thin strokes
are no figures.
"""

import math

import numpy as np

from pace_core.data._vtab_mini import _canvas as canvas
from pace_core.data._vtab_mini._sprites import FIGURES
from pace_core.data._vtab_mini._task import Task

CLASS_NAMES = tuple(f"column {i}" for i in range(16))

LEFT, WIDTH = 10.0, 44.0
"""The figure's centre lies in these pixels; a class is a sixteenth of the width."""


def draw(label: int, split: str, rng: np.random.Generator) -> canvas.Picture:
    """Draws one figure with its centre in that column."""
    ground, ink = canvas.contrast_pair(0.4, rng)
    picture = canvas.backdrop(ground, 0.12, rng)
    canvas.strokes(picture, int(rng.integers(1, 4)), rng, lambda: rng.uniform(0.05, 0.95, 3))
    x = LEFT + WIDTH * (label + rng.uniform(0.1, 0.9)) / 16
    y = rng.uniform(12, canvas.SIZE - 12)
    radius = rng.uniform(7, 11)
    patch = canvas.Patch.around(picture, x, y, radius * 1.5)
    u, v = patch.frame(x, y, rng.uniform(0, 2 * math.pi))
    figure = FIGURES[("square", "ellipse", "heart")[rng.integers(3)]]
    patch.paint(canvas.inside(canvas.polygon(u, v, figure * radius)), np.asarray(ink))
    return canvas.with_noise(picture, 0.03, rng)


TASK = Task(
    name="location",
    title="Location",
    class_names=CLASS_NAMES,
    draw=draw,
)
