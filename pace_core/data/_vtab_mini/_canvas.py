"""Drawing on a 64x64 picture of floats: anti-aliased shapes by signed distance, backdrops, clutter, sensor noise.

A picture is float64 [64, 64, 3] in 0..1. Distances are in pixels, negative inside a shape. All draws come from the
generator that is passed in.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 64
Plane = NDArray[np.float64]
"""One value a pixel."""
Picture = NDArray[np.float64]
"""[64, 64, 3], RGB in 0..1."""

Y, X = (plane + 0.5 for plane in np.mgrid[0:SIZE, 0:SIZE].astype(np.float64))


@dataclass(frozen=True)
class Patch:
    """A part of a picture to draw on, in the whole picture's coordinates; small shapes need a small one."""

    pixels: Picture
    """A view: what is painted here is painted on the picture."""
    x: Plane
    y: Plane

    @classmethod
    def around(cls, picture: Picture, cx: float, cy: float, reach: float) -> "Patch":
        """Returns the pixels within `reach` of a centre, none if that is outside the picture."""
        rows, columns = (slice(max(0, math.floor(c - reach)), max(0, math.ceil(c + reach))) for c in (cy, cx))
        return cls(picture[rows, columns], X[rows, columns], Y[rows, columns])

    def frame(self, cx: float, cy: float, angle: float = 0.0) -> tuple[Plane, Plane]:
        """Coordinates (u to the right, v down) seen from a centre and turned clockwise by `angle` radians."""
        cosine, sine = math.cos(angle), math.sin(angle)
        dx, dy = self.x - cx, self.y - cy
        return cosine * dx + sine * dy, cosine * dy - sine * dx

    def paint(self, coverage: Plane, colour: NDArray[np.float64]) -> None:
        """Lays a colour ([3], or one for each pixel) over the pixels as far as they are covered."""
        self.pixels[...] += coverage[..., None] * (colour - self.pixels)


def whole(picture: Picture) -> Patch:
    """Returns the picture as one patch."""
    return Patch(picture, X, Y)


def inside(distance: Plane, softness: float = 1.0) -> Plane:
    """Returns the coverage in 0..1 of a shape given by signed distance; the edge is `softness` pixels wide."""
    return np.clip(0.5 - distance / softness, 0.0, 1.0)


def ellipse(u: Plane, v: Plane, a: float, b: float) -> Plane:
    """Returns the distance to an ellipse with half axes a, b; exact on circles, first order elsewhere."""
    level = np.sqrt((u / a) ** 2 + (v / b) ** 2) + 1e-9
    slope = np.sqrt((u / a**2) ** 2 + (v / b**2) ** 2) / level + 1e-9
    return (level - 1.0) / slope


def box(u: Plane, v: Plane, a: float, b: float) -> Plane:
    """Returns the distance to an axis-parallel rectangle with half sides a, b."""
    du, dv = np.abs(u) - a, np.abs(v) - b
    return np.hypot(np.maximum(du, 0), np.maximum(dv, 0)) + np.minimum(np.maximum(du, dv), 0)


def polygon(u: Plane, v: Plane, corners: NDArray[np.float64]) -> Plane:
    """Returns the distance to a simple polygon, corners [n, 2] in the frame's coordinates."""
    nearest, crossed = np.full_like(u, np.inf), np.zeros(u.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((u - x0) * dx + (v - y0) * dy) / (dx * dx + dy * dy + 1e-12), 0.0, 1.0)
        nearest = np.minimum(nearest, (u - x0 - along * dx) ** 2 + (v - y0 - along * dy) ** 2)
        leftwards = (u - x0) * dy - (v - y0) * dx  # a ray to the right crosses this side?
        crossed ^= ((y0 > v) != (y1 > v)) & (leftwards < 0 if dy > 0 else leftwards > 0)
    return np.where(crossed, -1.0, 1.0) * np.sqrt(nearest)


def sample(stencil: NDArray[np.float64], u: Plane, v: Plane) -> Plane:
    """Interpolates a stencil [h, w] laid centred onto coordinates u, v (in stencil pixels); zero outside."""
    padded = np.pad(stencil, 1)
    height, width = padded.shape
    x = np.clip(u + (width - 1) / 2, 0, width - 1.001)
    y = np.clip(v + (height - 1) / 2, 0, height - 1.001)
    column, row = x.astype(int), y.astype(int)
    fx, fy = x - column, y - row
    top = padded[row, column] * (1 - fx) + padded[row, column + 1] * fx
    bottom = padded[row + 1, column] * (1 - fx) + padded[row + 1, column + 1] * fx
    return top * (1 - fy) + bottom * fy


def backdrop(colour: NDArray[np.float64], unevenness: float, rng: np.random.Generator) -> Picture:
    """Draws a flat colour under uneven lighting: a 4x4 grid of random shifts, interpolated."""
    shifts = rng.uniform(-unevenness, unevenness, (4, 4, 3))
    position = (np.arange(SIZE) + 0.5) * 3 / SIZE
    weights = np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(4)))
    return colour + np.tensordot(weights, np.tensordot(weights, shifts, (1, 1)), (1, 1))


def contrast_pair(gap: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draws two colours whose brightness differs by at least `gap`; which one is brighter is random."""
    while True:
        first, second = rng.uniform(0.05, 0.95, (2, 3))
        if abs(first.mean() - second.mean()) >= gap:
            return first, second


def strokes(picture: Picture, count: int, rng: np.random.Generator, ink: Callable[[], NDArray[np.float64]]) -> None:
    """Draws clutter: short straight strokes anywhere, each in a colour of `ink()`."""
    for _ in range(count):
        x, y = rng.uniform(0, SIZE, 2)
        length, width = rng.uniform(6, 18), rng.uniform(1.0, 3.0)
        patch = Patch.around(picture, x, y, length)
        u, v = patch.frame(x, y, rng.uniform(0, 2 * math.pi))
        patch.paint(inside(box(u, v, length / 2, width / 2)), ink())


def with_noise(picture: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    """Returns the picture with independent sensor noise on every value."""
    return picture + rng.normal(0.0, sigma, picture.shape)
