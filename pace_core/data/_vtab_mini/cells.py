"""What grows in this microscope field? Eight kinds of cells by form and grouping, stained dark on bright.

Asks for the kind of most cells: their form (rod, crescent, ring, with a nucleus) or their grouping (pairs, chains,
clusters). A stray of another kind, debris, defocus and uneven lighting get in the way; colour and number say nothing.
"""

import math

import numpy as np

from pace_core.data._vtab_mini import _canvas as canvas
from pace_core.data._vtab_mini._task import Task

CLASS_NAMES = ("round", "nucleated", "rods", "crescents", "rings", "pairs", "chains", "clusters")


def draw(label: int, split: str, rng: np.random.Generator) -> canvas.Picture:
    """Draws one field in which that kind prevails."""
    stain, ground = sorted(canvas.contrast_pair(0.35, rng), key=np.mean)
    picture = canvas.backdrop(ground, 0.12, rng)
    size = rng.uniform(4.5, 6.0)
    groups = int(rng.integers(5, 9))
    strays = int(rng.integers(0, 2))
    kinds = [CLASS_NAMES[label]] * groups + [CLASS_NAMES[rng.integers(len(CLASS_NAMES))] for _ in range(strays)]
    softness = rng.uniform(1.0, 2.0)
    for kind, (x, y) in zip(kinds, _apart(len(kinds), 15.0, rng), strict=True):
        patch = canvas.Patch.around(picture, x, y, 8 * size)
        distance = _colony(kind, patch, x, y, size * rng.uniform(0.85, 1.15), rng)
        shade = np.clip(stain + rng.normal(0, 0.05, 3), 0, 1)
        patch.paint(canvas.inside(distance, softness) * rng.uniform(0.75, 0.95), shade)
    for _ in range(rng.integers(3, 9)):
        x, y = rng.uniform(0, canvas.SIZE, 2)
        patch = canvas.Patch.around(picture, x, y, 3)
        patch.paint(canvas.inside(np.hypot(*patch.frame(x, y)) - rng.uniform(0.5, 1.5)) * 0.6, stain)
    return canvas.with_noise(picture, rng.uniform(0.02, 0.04), rng)


def _apart(count: int, gap: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Places at least `gap` pixels from each other where that is possible in thirty tries each."""
    places: list[tuple[float, float]] = []
    tries = 0
    while len(places) < count:
        tries += 1
        x, y = (float(c) for c in rng.uniform(5, canvas.SIZE - 5, 2))
        if tries == 30 or all(math.hypot(x - a, y - b) >= gap for a, b in places):
            places.append((x, y))
            tries = 0
    return places


def _colony(kind: str, patch: canvas.Patch, x: float, y: float, size: float, rng: np.random.Generator) -> canvas.Plane:
    """Signed distance to one cell or group of cells of that kind, `size` being the radius of a round cell."""
    angle = rng.uniform(0, 2 * math.pi)
    u, v = patch.frame(x, y, angle)
    round_cell = canvas.ellipse(u, v, size, size * rng.uniform(0.85, 1.0))
    match kind:
        case "round":
            return round_cell
        case "nucleated":
            off = rng.uniform(-0.15, 0.15, 2) * size
            nucleus = np.hypot(u - off[0], v - off[1]) - 0.4 * size
            return np.maximum(round_cell - 0.5, -np.maximum(round_cell + 1.2, -nucleus))
        case "rods":
            return np.hypot(np.maximum(np.abs(u) - 1.3 * size, 0), v) - 0.5 * size
        case "crescents":
            return np.maximum(canvas.ellipse(u, v, size * 1.3, size), -(np.hypot(u, v - 0.7 * size) - 1.05 * size))
        case "rings":
            return np.abs(round_cell + 0.25 * size) - 0.28 * size
        case "pairs":
            return np.minimum(np.hypot(u - 0.72 * size, v), np.hypot(u + 0.72 * size, v)) - 0.7 * size
        case "chains":
            return _beads(patch, x, y, angle, 0.5 * size, int(rng.integers(4, 7)), rng)
        case _:
            spots = rng.normal(0, 0.75 * size, (int(rng.integers(5, 9)), 2))
            return np.minimum.reduce([np.hypot(u - a, v - b) for a, b in spots]) - 0.5 * size


def _beads(
    patch: canvas.Patch, x: float, y: float, angle: float, radius: float, count: int, rng: np.random.Generator
) -> canvas.Plane:
    """Distance to a bent string of round cells through (x, y)."""
    bend = rng.uniform(-0.35, 0.35)
    beads = []
    for _ in range(count):
        beads.append(np.hypot(*patch.frame(x, y)) - radius)
        x, y, angle = x + 1.8 * radius * math.cos(angle), y + 1.8 * radius * math.sin(angle), angle + bend
    return np.minimum.reduce(beads)


TASK = Task(
    name="cells",
    title="Cells",
    class_names=CLASS_NAMES,
    draw=draw,
)
