"""Small data sets on disk, in the layouts that users have."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pace_core.preprocessing import Preprocessing
from pace_core.spec import Directive


def squashed(size: int, **changes: Any) -> Preprocessing:
    """Images squashed to that square, as without augmentation."""
    return Preprocessing(size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), **{"background": "white", **changes})


class Silent:
    """A reporter that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def event(self, type: str, data: dict[str, Any]) -> None:
        self.events.append((type, data))

    def directive(self) -> Directive:
        return "continue"


def write_image(path: Path, value: int, size: tuple[int, int] = (12, 9)) -> Path:
    """A flat grey image of that value, lossless whatever the ending says; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), value, dtype=np.uint8)).save(path, format="PNG")
    return path


def write_vtab_task(home: Path, labels: dict[str, list[int]]) -> Path:
    """A VTAB-1K task folder: list name → labels; an image's grey value is ten times its label plus its number."""
    for split, split_labels in labels.items():
        lines = []
        for i, label in enumerate(split_labels):
            name = f"images/{split}/{i:06d}.jpg"
            write_image(home / name, (10 * label + i) % 256)
            lines.append(f"{name} {label}\n")
        (home / f"{split}.txt").write_text("".join(lines))
    return home
