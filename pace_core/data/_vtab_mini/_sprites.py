"""Flat figures as in dSprites: corners [n, 2] of polygons in a circle of radius 1, pointing up (towards negative v)."""

import math

import numpy as np
from numpy.typing import NDArray

_turn = np.linspace(0, 2 * math.pi, 28, endpoint=False)
_half = np.linspace(0, math.pi, 12)

FIGURES: dict[str, NDArray[np.float64]] = {
    "square": np.array([(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7)]),
    "ellipse": np.stack([0.6 * np.cos(_turn), np.sin(_turn)], axis=1),
    # the heart's tip points up, so that every figure has its narrow end there
    "heart": np.stack(
        [
            np.sin(_turn) ** 3,
            (13 * np.cos(_turn) - 5 * np.cos(2 * _turn) - 2 * np.cos(3 * _turn) - np.cos(4 * _turn)) / 17,
        ],
        axis=1,
    ),
    "arrow": np.array([(0, -1), (0.75, -0.1), (0.28, -0.1), (0.28, 0.95), (-0.28, 0.95), (-0.28, -0.1), (-0.75, -0.1)]),
    "drop": np.concatenate([[(0.0, -1.0)], np.stack([0.6 * np.cos(_half), 0.35 + 0.6 * np.sin(_half)], axis=1)]),
    "wedge": np.array([(0, -1), (0.6, 0.8), (-0.6, 0.8)]),
}
