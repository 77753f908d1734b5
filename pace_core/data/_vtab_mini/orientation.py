"""Which way does the figure point? The turn of a heart, arrow, drop or wedge, in eight directions, as in dSprites.

Asks for direction across figures, sizes, places, colours and polarities. Every figure has one narrow end, so the answer
is unique over the full circle.
"""

import math

import numpy as np

from pace_core.data._vtab_mini import _canvas as canvas
from pace_core.data._vtab_mini._sprites import FIGURES
from pace_core.data._vtab_mini._task import Task

CLASS_NAMES = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")


def draw(label: int, split: str, rng: np.random.Generator) -> canvas.Picture:
    """Draws one figure that points that way, within 16 degrees."""
    ground, ink = canvas.contrast_pair(0.4, rng)
    picture = canvas.backdrop(ground, 0.12, rng)
    canvas.strokes(picture, int(rng.integers(0, 3)), rng, lambda: np.clip(ground + rng.normal(0, 0.15, 3), 0, 1))
    radius = rng.uniform(18, 24)
    angle = math.radians(45 * label + rng.uniform(-16, 16))
    patch = canvas.whole(picture)
    x, y = rng.uniform(radius, canvas.SIZE - radius, 2)
    u, v = patch.frame(x, y, angle)
    figure = FIGURES[("heart", "arrow", "drop", "wedge")[rng.integers(4)]]
    patch.paint(canvas.inside(canvas.polygon(u, v, figure * radius)), np.asarray(ink))
    return canvas.with_noise(picture, 0.03, rng)


TASK = Task(
    name="orientation",
    title="Orientation",
    class_names=CLASS_NAMES,
    draw=draw,
)
