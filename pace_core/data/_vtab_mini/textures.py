"""Which pattern covers this surface? One of fourteen, at any turn, phase and colour, slightly warped and blurred.

Asks for what repeats, wherever and however large, and not for colour or brightness, which say nothing here.
"""

import math

import numpy as np

from pace_core.data._vtab_mini import _canvas as canvas
from pace_core.data._vtab_mini._task import Task

CLASS_NAMES = (
    "stripes", "waves", "zigzag", "checks", "grid", "dots", "staggered dots", "rings",
    "crosses", "bricks", "weave", "scales", "triangles", "cracks",
)  # fmt: skip


def draw(label: int, split: str, rng: np.random.Generator) -> canvas.Picture:
    """Draws one surface with that pattern."""
    period = rng.uniform(10, 16)
    back, front = canvas.contrast_pair(0.3, rng)
    surface = canvas.whole(canvas.backdrop(back, 0.12, rng))
    u, v = surface.frame(canvas.SIZE / 2, canvas.SIZE / 2, rng.uniform(0, 2 * math.pi))
    for axis, other in ((u, v), (v, u)):
        bend, length, phase = rng.uniform(0, 0.12) * period, rng.uniform(30, 80), rng.uniform(0, 2 * math.pi)
        axis += bend * np.sin(2 * math.pi * other / length + phase)
    distance = _pattern(CLASS_NAMES[label], u / period + rng.uniform(0, 64), v / period + rng.uniform(0, 64), rng)
    surface.paint(canvas.inside(distance * period, rng.uniform(1.0, 2.0)), canvas.backdrop(front, 0.12, rng))
    return canvas.with_noise(surface.pixels, rng.uniform(0.03, 0.06), rng)


def _fold(t: canvas.Plane) -> canvas.Plane:
    """Distance to the nearest integer."""
    return np.abs(t - np.round(t))


def _pattern(name: str, u: canvas.Plane, v: canvas.Plane, rng: np.random.Generator) -> canvas.Plane:
    """Signed distance to the pattern's ink, in periods."""
    width = rng.uniform(0.18, 0.28)
    staggered = u + 0.5 * (np.floor(v) % 2)
    match name:
        case "stripes":
            return _fold(u) - width
        case "waves":
            return _fold(u + 0.3 * np.sin(2 * math.pi * v / 1.5)) - width
        case "zigzag":
            return _fold(u + 0.8 * _fold(v / 1.6)) - width
        case "checks":
            return np.where((np.floor(u) + np.floor(v)) % 2 == 0, -1, 1) * np.minimum(_fold(u), _fold(v))
        case "grid":
            return np.minimum(_fold(u), _fold(v)) - width * 0.6
        case "dots":
            return np.hypot(_fold(u), _fold(v)) - width * 1.2
        case "staggered dots":
            return np.hypot(staggered - np.floor(staggered) - 0.5, v - np.floor(v) - 0.5) - width * 1.2
        case "rings":
            return np.abs(np.hypot(_fold(u), _fold(v)) - 0.3) - width * 0.4
        case "crosses":
            a, b = _fold(u), _fold(v)
            return np.maximum(np.minimum(a, b) - width * 0.45, np.maximum(a, b) - 0.38)
        case "bricks":
            return np.minimum(_fold(v), _fold((u + np.floor(v) % 2) / 2) * 2) - width * 0.45
        case "weave":
            across = (np.floor(u) + np.floor(v)) % 2 == 0
            return _fold(2 * np.where(across, u, v)) / 2 - width * 0.5
        case "scales":
            return _scales(u, v) - width * 0.4
        case "triangles":
            third = np.array([0.0, math.pi / 3, 2 * math.pi / 3])
            lines = [_fold(u * math.cos(a) + v * math.sin(a)) for a in third]
            return np.minimum.reduce(lines) - width * 0.45
        case _:
            return _cracks(u, v, rng) - width * 0.4


def _scales(u: canvas.Plane, v: canvas.Plane) -> canvas.Plane:
    """Distance to the rims of overlapping fish scales, rows half a period apart."""
    rim = np.full_like(u, np.inf)
    covered = np.zeros(u.shape, dtype=bool)
    for ahead in (0, 1, 2):  # from the scale that lies on top to those under it
        row = np.floor(2 * v) + ahead
        shifted = u + 0.5 * (row % 2)
        radius = np.hypot(shifted - np.round(shifted), v - row / 2 + 0.5)
        rim = np.where(covered, rim, np.minimum(rim, np.abs(radius - 0.7)))
        covered |= radius < 0.7
    return rim


def _cracks(u: canvas.Plane, v: canvas.Plane, rng: np.random.Generator) -> canvas.Plane:
    """Distance to the borders between the cells of random seeds, about one a period squared."""
    extent = max(float(np.ptp(u)), float(np.ptp(v)))
    seeds = np.array([u.min(), v.min()]) + rng.uniform(0, extent, (max(4, round(extent**2 * 0.8)), 2))
    distances = np.hypot(u[..., None] - seeds[:, 0], v[..., None] - seeds[:, 1])
    nearest = np.partition(distances, 1, axis=-1)
    return (nearest[..., 1] - nearest[..., 0]) / 2


TASK = Task(
    name="textures",
    title="Textures",
    class_names=CLASS_NAMES,
    draw=draw,
)
