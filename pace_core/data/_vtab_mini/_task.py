"""The declaration of a bundled task."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pace_core.data._vtab_mini._canvas import Picture


@dataclass(frozen=True, kw_only=True)
class Task:
    """A bundled task: its classes, and how a picture of each is drawn."""

    name: str
    title: str
    """Heading of its column in a table."""
    class_names: tuple[str, ...]
    """The classes in the order of their labels."""
    version: int = 1
    """Raised whenever the pictures change, so that results on other pictures are not averaged with these."""
    draw: Callable[[int, str, np.random.Generator], Picture]
    """draw(label, split, rng) returns one picture of that class, float64 [64, 64, 3] in 0..1."""
