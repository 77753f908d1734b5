"""One image file to RGB pixels, or a sentence that says why it cannot be read and what helps."""

import io
import re
import stat
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, UnidentifiedImageError

from pace_core.preprocessing import Pixels, Preprocessing
from pace_core.roots import data_path
from pace_core.spec import RunError
from pace_core.spec.text import shown

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # half of what is refused; says nothing new

_PNG = b"\x89PNG\r\n\x1a\n"
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what sets the image upright."""
_ORIENTATION = 0x0112
_LONGEST_PATH = 1000
_CUT_OFF = re.compile(
    r"truncated|Truncated|broken data stream|[Uu]nexpected end|not enough (image )?data|buffer overrun"
)
_BOMB = re.compile(r"Image size \((\d+) pixels\) exceeds limit of (\d+)")


class _UnknownWhite(ValueError):
    """Pixels whose scale is not known."""


@dataclass(frozen=True)
class Decoded:
    """An image's pixels, ready to crop, and what was done to get them."""

    pixels: Pixels
    deepest: int | None = None
    """Highest value of a 16-bit image."""
    turned: bool = False
    """Whether it was turned upright."""
    transparent: bool = False
    """Whether it was laid on the background."""


def decode(path: Path, preprocessing: Preprocessing, content: Callable[[], bytes] | None = None) -> Decoded:
    """Reads an image at the size that crops are taken from. Raises RunError, data_missing or data_corrupt.

    `content` reads its bytes where it is part of a larger file; `path` then only names it.
    """
    if content is not None:
        return _decode_part(path, preprocessing, content)
    real = data_path(path)
    try:
        if not stat.S_ISREG(real.stat().st_mode):
            kind = "folder" if real.is_dir() else "pipe, socket or device"
            raise RunError("data_corrupt", f"{_named(path)} is a {kind}, not an image file")
        return _decode(real, preprocessing)
    except RunError:
        raise
    except FileNotFoundError as error:
        raise RunError("data_missing", f"there is no file {_named(path)}") from error
    except Exception as error:  # decoders fail in many ways; each means that this file is no image we can read
        message = f"{_named(path)} cannot be decoded ({_in_our_words(real, error, preprocessing)})"
        raise RunError("data_corrupt", message) from error


def _decode_part(path: Path, preprocessing: Preprocessing, content: Callable[[], bytes]) -> Decoded:
    data = content()
    try:
        return _decode(data, preprocessing)
    except Exception as error:  # as for a file
        message = f"{_named(path)} cannot be decoded ({_in_our_words(data, error, preprocessing)})"
        raise RunError("data_corrupt", message) from error


def _decode(source: Path | bytes, preprocessing: Preprocessing) -> Decoded:
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as image:
            return _pixels(image, preprocessing)
    except ValueError as error:
        if "MAX_TEXT" not in str(error):
            raise
    data = source.read_bytes() if isinstance(source, Path) else source
    with Image.open(_without_text(data)) as image:  # long texts in a PNG: no pixel depends on them
        return _pixels(image, preprocessing)


def _pixels(image: Image.Image, preprocessing: Preprocessing) -> Decoded:
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):  # Pillow scales a PPM's to 16 bits
        raise _UnknownWhite(f"mode {image.mode} does not say how bright white is; save it with 8 or 16 bits")
    image.load()  # before its EXIF is asked: a TIFF turns itself while loading
    upright = _UPRIGHT.get(_orientation(image)) if preprocessing.exif else None
    deepest = None
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion clips instead of scaling
        values = np.asarray(image, dtype=np.int64)
        deepest = int(values.max())
        image = Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8))
    transparent = preprocessing.background is not None and image.has_transparency_data
    rgb = _on_background(image, preprocessing.background or "") if transparent else image.convert("RGB")
    if upright is not None:
        rgb = rgb.transpose(upright)
    return Decoded(preprocessing.resized(rgb), deepest, upright is not None, transparent)


def _on_background(image: Image.Image, colour: str) -> Image.Image:
    ground = Image.new("RGBA", image.size, (*ImageColor.getrgb(colour)[:3], 255))
    return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF that cannot be read turns nothing
        return 1


def _without_text(content: bytes) -> io.BytesIO:
    """A PNG file without its text chunks."""
    kept, at = [content[: len(_PNG)]], len(_PNG)
    while at + 8 <= len(content):
        end = at + 12 + struct.unpack_from(">I", content, at)[0]
        if content[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt"):
            kept.append(content[at:end])
        at = end
    return io.BytesIO(b"".join(kept))


def _named(path: Path) -> str:
    return shown(str(path), _LONGEST_PATH)


def _in_our_words(source: Path | bytes, error: Exception, preprocessing: Preprocessing) -> str:
    said = str(error) or type(error).__name__
    if isinstance(error, PermissionError):
        return "this process may not read it; change its permissions"
    if found := _BOMB.search(said):
        pixels, limit = (f"{int(number) / 1e6:,.0f}" for number in found.groups())
        seen = preprocessing.resize_to or preprocessing.image_size
        return (
            f"it has {pixels} million pixels, more than {limit} million; scale it down: only {seen} x {seen} are used"
        )
    if isinstance(error, UnidentifiedImageError):
        return _instead_of_an_image(source)
    if _CUT_OFF.search(said):
        return f"the file is cut off or damaged: {said}; copy or download it again"
    if isinstance(error, _UnknownWhite):
        return said
    return f"{shown(said)}; the file is damaged or of an unusual kind: save it again as PNG or JPEG, or remove it"


def _instead_of_an_image(source: Path | bytes) -> str:
    if isinstance(source, Path):
        with source.open("rb") as file:
            start = file.read(512)
    else:
        start = source[:512]
    if not start:
        return "the file is empty; copy or download it again"
    if start.startswith(b"version https://git-lfs"):
        return "it is the pointer that Git LFS keeps instead of the file; fetch it with git lfs pull"
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page, not an image; download the image itself"
    if not any(start):
        return "it begins with zeros, as after a copy that was cut off; copy or download it again"
    return "Pillow cannot read it as an image, whatever its name says; save it as PNG or JPEG, or remove it"
