"""Images from formulas: iterated-function-system fractals (Kataoka et al. 2020, arXiv 2101.08515) and 1/f noise.

They share no class and no code with the benchmark's tasks.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

CHAINS, STEPS, BURN_IN = 256, 140, 12
SMALLEST_COVER = 0.04
"""Share of the pixels a fractal must touch; less is a few dots."""


def noise(count: int, size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draws coloured 1/f^a noise in [0, 1], [count, size, size, 3]; a is drawn from 1 to 2.6 for each image."""
    frequency = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None, :]).astype(np.float32)
    frequency[0, 0] = np.inf
    exponent = rng.uniform(1.0, 2.6, (count, 1, 1, 1)).astype(np.float32)
    spectrum = rng.standard_normal((count, 3, *frequency.shape), np.float32) * frequency**-exponent
    spectrum = spectrum * np.exp(2j * np.pi * rng.random(spectrum.shape, np.float32)).astype(np.complex64)
    waves = np.asarray(fft.irfft2(spectrum, s=(size, size)))
    waves /= waves.std(axis=(2, 3), keepdims=True) + 1e-8
    mixing = rng.standard_normal((count, 3, 3), np.float32) * 0.15
    centre = rng.uniform(0.2, 0.8, (count, 1, 1, 3)).astype(np.float32)
    return np.clip(np.einsum("nchw,ncd->nhwd", waves, mixing) + centre, 0, 1).astype(np.float32)


def fractals(count: int, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draws how densely attractors of random affine maps cover each pixel, [count, size, size]; none is sparse."""
    found: list[NDArray[np.uint8]] = []
    while len(found) < count:
        found += [cover for cover in _attractors(16, size, rng) if np.mean(cover > 0) >= SMALLEST_COVER]
    return np.stack(found[:count])


def _attractors(count: int, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Plays the chaos game for `count` systems of two to six contractions at once."""
    maps = 6
    used = np.arange(maps)[None] < rng.integers(2, maps + 1, (count, 1))
    turn, tilt = rng.uniform(0, 2 * np.pi, (2, count, maps))
    stretch = rng.uniform(0.15, 0.85, (count, maps, 2)) * rng.choice([-1, 1], (count, maps, 2))
    matrix = _rotation(turn) @ (stretch[..., None] * _rotation(tilt))
    shift = rng.uniform(-1, 1, (count, maps, 2))
    weight = np.where(used, np.abs(stretch.prod(-1)) + 0.02, 0)
    edges = np.cumsum(weight / weight.sum(1, keepdims=True), axis=1)

    system = np.arange(count)[:, None]
    point = np.zeros((count, CHAINS, 2))
    track = np.empty((STEPS, count, CHAINS, 2), np.float32)
    for step in range(STEPS):
        choice = np.minimum((rng.random((count, CHAINS, 1)) > edges[:, None]).sum(-1), maps - 1)
        point = np.einsum("ncij,ncj->nci", matrix[system, choice], point) + shift[system, choice]
        track[step] = point
    points = track[BURN_IN:].transpose(1, 0, 2, 3).reshape(count, -1, 2)
    low, high = np.percentile(points[:, ::16], [1, 99], axis=1)
    cells = ((points - low[:, None]) / (high - low + 1e-6)[:, None] * 0.9 + 0.05) * size
    covers = np.zeros((count, size, size), np.uint8)
    for cover, cell in zip(covers, cells, strict=True):
        inside = cell[((cell >= 0) & (cell < size)).all(1)].astype(np.int32)
        hits = np.bincount(inside[:, 0] * size + inside[:, 1], minlength=size * size)
        dense = np.log1p(hits) / np.log1p(max(np.percentile(hits, 99), 1))
        cover[:] = (np.minimum(dense, 1) * 255).reshape(size, size)
    return covers


def _rotation(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
