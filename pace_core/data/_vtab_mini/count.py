"""How many objects are there? One to eight balls, boxes and cylinders on a floor, as in CLEVR.

Asks for number against size, kind, colour and place; near objects may cover a part of far ones.
"""

import numpy as np

from pace_core.data._vtab_mini import _canvas as canvas
from pace_core.data._vtab_mini import _scene as scene
from pace_core.data._vtab_mini._task import Task

CLASS_NAMES = tuple(f"{n} objects" for n in range(1, 9))


def draw(label: int, split: str, rng: np.random.Generator) -> canvas.Picture:
    """Draws one scene with 1 + label objects."""
    camera = scene.Camera.drawn(rng)
    distances = [float(z) for z in rng.uniform(3.4, 7.5, 1 + label)]
    return canvas.with_noise(scene.render(scene.things(distances, camera, rng), camera, rng), 0.02, rng)


TASK = Task(
    name="count",
    title="Count",
    class_names=CLASS_NAMES,
    draw=draw,
)
