"""Image files decoded once, in parallel, into one array; every file that cannot be read is named before training."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pace_core.data._listing import Listed
from pace_core.spec import Reporter, RunError

_NAMED_FAULTS = 20
_SECONDS_BETWEEN_REPORTS = 0.5


def decoded(listed: Sequence[Listed], size: int, reporter: Reporter) -> NDArray[np.uint8]:
    """The images [N, size, size, 3], RGB, resized to exactly the square (bicubic, aspect ratio not kept), as PACE does.

    EXIF rotation is not applied, as in none of the papers' code. Raises RunError (data_missing if files are only
    absent, else data_corrupt) that names the first twenty faults and counts the rest.
    """
    images = np.empty((len(listed), size, size, 3), dtype=np.uint8)
    faults: list[tuple[bool, str]] = []
    reported = time.monotonic()

    def fill(i: int) -> tuple[bool, str] | None:
        try:
            images[i] = decode(listed[i].path, size)
        except RunError as error:
            return error.reason == "data_missing", f"{listed[i].origin}: {error.message}"
        return None

    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as threads:  # Pillow decodes outside the GIL
        for done, fault in enumerate(threads.map(fill, range(len(listed))), start=1):
            if fault:
                faults.append(fault)
            if done == len(listed) or time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                reporter.event("progress", {"stage": "data", "done": done, "total": len(listed)})
    if faults:
        reason = "data_missing" if all(missing for missing, _ in faults) else "data_corrupt"
        raise RunError(reason, in_one_message([message for _, message in faults]))
    return images


def resized(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Images [N, H, W, 3] at [N, size, size, 3], bicubic."""
    if images.shape[1:3] == (size, size):
        return images
    square = (size, size)
    return np.stack([np.asarray(Image.fromarray(image).resize(square, Image.Resampling.BICUBIC)) for image in images])


def in_one_message(faults: Sequence[str]) -> str:
    """The first twenty faults, a line each, and how many more there are."""
    more = len(faults) - _NAMED_FAULTS
    return "\n".join([*faults[:_NAMED_FAULTS], *([f"and {more} more like these"] if more > 0 else [])])


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """An image file as [size, size, 3], RGB; what training reads is what a prediction reads.

    Raises RunError, data_missing or data_corrupt.
    """
    try:
        with Image.open(path) as image:
            return _pixels(image, size)
    except FileNotFoundError as error:
        raise RunError("data_missing", f"there is no file {path}") from error
    except Exception as error:  # decoders fail in many ways; each means that this file is no image we can read
        raise RunError("data_corrupt", f"{path} cannot be decoded ({str(error) or type(error).__name__})") from error


def _pixels(image: Image.Image, size: int) -> NDArray[np.uint8]:
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):  # Pillow scales a PPM's to 16 bits
        raise ValueError(f"mode {image.mode} does not say how bright white is; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion clips instead of scaling
        image = Image.fromarray((np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8))
    return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
