"""How far is the nearest object? Six ranges of distance, three to six objects on a floor, as in CLEVR.

Asks for the nearest object's place below the horizon, which itself moves from picture to picture; an object's size
alone does not tell, for there are small and large ones.
"""

from itertools import pairwise

import numpy as np

from pace_core.data._vtab_mini import _canvas as canvas
from pace_core.data._vtab_mini import _scene as scene
from pace_core.data._vtab_mini._task import Task

CUTS = tuple(3.0 * 1.22**i for i in range(7))
"""Borders of the ranges, in the scene's unit; each range is 22 % farther than the one before."""
CLASS_NAMES = tuple(f"{near:.1f} to {far:.1f}" for near, far in pairwise(CUTS))


def draw(label: int, split: str, rng: np.random.Generator) -> canvas.Picture:
    """Draws one scene whose nearest object is in that range."""
    camera = scene.Camera.drawn(rng)
    nearest = float(rng.uniform(CUTS[label], CUTS[label + 1]))
    others = [nearest + float(z) for z in rng.uniform(0.3, 6.0, rng.integers(2, 6))]
    return canvas.with_noise(scene.render(scene.things([nearest, *others], camera, rng), camera, rng), 0.02, rng)


TASK = Task(
    name="distance",
    title="Distance",
    class_names=CLASS_NAMES,
    draw=draw,
)
