"""Balls, boxes and cylinders with shadows on a floor, seen in perspective, as in CLEVR."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pace_core.data._vtab_mini import _canvas as canvas


@dataclass(frozen=True)
class Camera:
    """A pinhole above the floor, looking level; pictures are 64 pixels wide."""

    horizon: float
    """Row of the horizon."""
    height: float
    """Of the pinhole above the floor."""
    focal: float
    """In pixels: an object of width 1 at distance z is focal/z wide."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Camera":
        """Draws a camera whose view varies so much that an object's row in the picture does not tell its distance."""
        return cls(horizon=rng.uniform(10, 24), height=rng.uniform(1.9, 2.3), focal=rng.uniform(46, 54))


@dataclass(frozen=True)
class Thing:
    """An object standing on the floor."""

    kind: str
    x: float
    z: float
    radius: float
    colour: NDArray[np.float64]
    turn: float


def things(distances: list[float], camera: Camera, rng: np.random.Generator) -> list[Thing]:
    """Objects at these distances, wholly inside the picture and apart from each other where forty tries find room."""
    placed: list[Thing] = []
    for z in distances:
        tries = 0
        while True:
            tries += 1
            radius = (0.45, 0.65)[rng.integers(2)]
            reach = max(0.0, 30 * z / camera.focal - radius)
            x = rng.uniform(-reach, reach)
            if tries == 40 or all(_sight_gap(x, z, other) > radius + other.radius for other in placed):
                break
        kind = ("ball", "box", "cylinder")[rng.integers(3)]
        placed.append(Thing(kind, float(x), z, radius, rng.uniform(0.1, 0.95, 3), rng.uniform(0, math.pi / 2)))
    return placed


def _sight_gap(x: float, z: float, other: Thing) -> float:
    """How far apart two objects look, sideways motion along the line of sight counting a third."""
    return math.hypot(x - other.x * z / other.z, (z - other.z) * 0.6)


def render(objects: list[Thing], camera: Camera, rng: np.random.Generator) -> canvas.Picture:
    """Draws the objects on a floor before a wall, lit from a random side; the far ones first."""
    wall, floor = rng.uniform(0.45, 0.8, (2, 1)) + rng.uniform(-0.06, 0.06, (2, 3))
    picture = canvas.backdrop(wall, 0.1, rng)
    canvas.whole(picture).paint(canvas.inside(camera.horizon + 1.5 - canvas.Y, 3.0), canvas.backdrop(floor, 0.1, rng))
    side = rng.uniform(-0.8, 0.8)
    for thing in sorted(objects, key=lambda thing: -thing.z):
        _put(picture, thing, camera, side)
    return picture


def _put(picture: canvas.Picture, thing: Thing, camera: Camera, side: float) -> None:
    scale = camera.focal / thing.z
    x, ground = canvas.SIZE / 2 + thing.x * scale, camera.horizon + camera.height * scale
    r, flat = thing.radius * scale, camera.height / math.hypot(camera.height, thing.z)
    patch = canvas.Patch.around(picture, x, ground - 0.6 * r, 2.4 * r + 2)
    u, v = patch.frame(x, ground)
    shadow = canvas.ellipse(u + side * r, v, 1.25 * r, 1.25 * r * flat)
    patch.paint(canvas.inside(shadow, 2.0) * 0.45, np.zeros(3))
    if thing.kind == "ball":
        up = v + r
        light = np.clip(0.6 - 0.45 * (up / r) + 0.35 * side * (u / r), 0.15, 1.1)
        patch.paint(canvas.inside(np.hypot(u, up) - r), _lit(thing.colour, light))
        return
    top = 1.6 * r
    if thing.kind == "cylinder":
        body = np.minimum(
            canvas.box(u, v + top / 2, 0.85 * r, top / 2), canvas.ellipse(u, v, 0.85 * r, 0.85 * r * flat)
        )
        light = np.clip(0.65 + 0.4 * side * (u / r) - 0.2 * np.abs(u / r), 0.15, 1.1)
        patch.paint(canvas.inside(body), _lit(thing.colour, light))
        lid = canvas.ellipse(u, v + top, 0.85 * r, 0.85 * r * flat)
        patch.paint(canvas.inside(lid), np.clip(thing.colour * 1.15, 0, 1))
        return
    quarter = thing.turn + np.arange(4) * math.pi / 2
    foot = np.stack([r * np.cos(quarter), r * flat * np.sin(quarter)], axis=1)
    for i in range(4):
        a, b = foot[i], foot[(i + 1) % 4]
        if a[1] + b[1] <= 0:
            continue  # faces away
        face = np.array([a, b, b - (0, top), a - (0, top)])
        light = 0.6 + 0.4 * side * math.cos(thing.turn + (i + 0.5) * math.pi / 2)
        patch.paint(canvas.inside(canvas.polygon(u, v, face)), np.clip(thing.colour * light, 0, 1))
    patch.paint(canvas.inside(canvas.polygon(u, v, foot - (0, top))), np.clip(thing.colour * 1.15, 0, 1))


def _lit(colour: NDArray[np.float64], light: canvas.Plane) -> canvas.Picture:
    return np.clip(colour * light[..., None], 0, 1)
