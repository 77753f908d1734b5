"""Tiny images of two colours, in folders and lists as users have them."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def image_folder(root: Path, per_class: int, size: int = 16) -> Path:
    """root/red/*.png and root/blue/*.png: noise with more of that colour."""
    rng = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(per_class):
            pixels = rng.integers(0, 128, (size, size, 3), dtype=np.uint8)
            pixels[:, :, channel] += 100
            Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return root


def image_list(file: Path, root: Path, labels: Sequence[str]) -> Path:
    """A CSV of the images of `root` with these labels, every third of them for testing."""
    images = sorted(root.rglob("*.png"))[: len(labels)]
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "label", "split"])
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            writer.writerow([image, label, "test" if index % 3 == 2 else "train"])
    return file
