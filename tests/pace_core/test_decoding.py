"""An image file becomes pixels, or a sentence that says what helps."""

import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from pace_core.decoding import decode
from pace_core.preprocessing import Preprocessing
from pace_core.spec import RunError
from tests.pace_core.data.writing import squashed, write_image

WIDE = Preprocessing.of(augmentation="crop_flip", image_size=28, mean=(0, 0, 0), std=(1, 1, 1), background="white")


def read(path: Path, how: Preprocessing | None = None) -> np.ndarray:
    return decode(path, how or squashed(16)).pixels


def refusal(path: Path) -> str:
    with pytest.raises(RunError) as refused:
        read(path)
    assert refused.value.reason == "data_corrupt"
    return refused.value.message


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_without_augmentation_images_are_squashed_to_the_square_as_torchvision_does(tmp_path: Path) -> None:
    noise(37, 50).save(tmp_path / "a.png")
    expected = Resize((16, 16), InterpolationMode.BICUBIC)(noise(37, 50))
    np.testing.assert_array_equal(read(tmp_path / "a.png"), np.asarray(expected))


@pytest.mark.parametrize("shape", [(37, 50), (50, 37), (64, 64), (33, 129)])
def test_with_crops_the_middle_is_what_the_authors_few_shot_code_evaluates_on(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    noise(*shape).save(tmp_path / "a.png")
    expected = Compose([Resize(32), CenterCrop(28)])(noise(*shape))
    np.testing.assert_array_equal(WIDE.middle(read(tmp_path / "a.png", WIDE)), np.asarray(expected))


def test_of_an_endless_strip_the_middle_is_kept(tmp_path: Path) -> None:
    noise(1, 5000).save(tmp_path / "strip.png")
    assert read(tmp_path / "strip.png", WIDE).shape == (32, 8 * 32, 3)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = Image.new("L", (20, 20), 255)
    image = (
        Image.fromarray(np.full((20, 20), 65535, dtype=np.uint16))
        if mode == "I;16"
        else grey.convert("RGB").convert(mode)
    )
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    assert (read(path) >= 254).all()


def black_dot(mode: str) -> Image.Image:
    """A black square in the middle of a black ground that cannot be seen through its alpha."""
    alpha = np.zeros((16, 16), dtype=np.uint8)
    alpha[4:12, 4:12] = 255
    image = Image.fromarray(np.dstack([np.zeros((16, 16, 3), dtype=np.uint8), alpha]))
    return image.convert(mode) if mode != "P" else image.quantize(4)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
@pytest.mark.parametrize(("background", "value"), [("white", 255), ("#ff0000", 255), ("black", 0)])
def test_transparent_images_are_laid_on_the_background(tmp_path: Path, mode: str, background: str, value: int) -> None:
    path = tmp_path / ("dot.tif" if mode == "PA" else "dot.png")
    black_dot("LA" if mode == "PA" else mode).save(path)
    pixels = read(path, squashed(16, background=background))
    assert pixels[0, 0, 0] == value
    assert (pixels[8, 8] == 0).all()
    assert decode(path, squashed(16)).transparent


def test_adapters_of_before_still_see_no_transparency(tmp_path: Path) -> None:
    black_dot("RGBA").save(tmp_path / "dot.png")
    assert (read(tmp_path / "dot.png", Preprocessing.read({"image_size": 16, "mean": [0], "std": [1]})) == 0).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
def test_photographs_are_turned_upright_where_asked(tmp_path: Path, orientation: int, kind: str) -> None:
    upright = Image.new("RGB", (16, 16), "black")
    upright.paste((255, 255, 255), (0, 0, 16, 8))
    upright.paste((255, 255, 255), (0, 0, 4, 16))  # no two of the eight orientations are alike
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that undoes what a viewer does
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a.{kind}", exif=exif)
    found = read(tmp_path / f"a.{kind}", squashed(16, exif=True)).astype(int)
    assert np.abs(found - np.asarray(upright).astype(int)).mean() < 8
    if kind != "tif":  # Pillow turns these itself
        as_stored = read(tmp_path / f"a.{kind}").astype(int)
        assert np.abs(as_stored - np.asarray(stored).astype(int)).mean() < 8


@pytest.mark.parametrize(("kind", "dtype"), [("F", np.float32), ("I", np.int32)])
def test_pixels_without_a_known_white_are_refused_and_not_read_as_black(tmp_path: Path, kind: str, dtype: type) -> None:
    Image.fromarray(np.ones((9, 9), dtype=dtype)).save(tmp_path / "a.tiff")
    assert f"a.tiff cannot be decoded (mode {kind}" in refusal(tmp_path / "a.tiff")
    assert "8 or 16 bits" in refusal(tmp_path / "a.tiff")


@pytest.mark.parametrize("compressed", [True, False])
def test_long_texts_in_a_png_are_not_read_at_all(tmp_path: Path, compressed: bool) -> None:
    plain, texts = tmp_path / "plain.png", PngInfo()
    for i in range(2 if compressed else 40):
        texts.add_text(f"workflow {i}", "x" * 2_000_000, zip=compressed)
    noise(16, 16).save(plain)
    noise(16, 16).save(tmp_path / "text.png", pnginfo=texts)
    np.testing.assert_array_equal(read(tmp_path / "text.png"), read(plain))


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises that many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def cut_off(path: Path) -> None:
    noise(64, 64).save(path)
    path.write_bytes(path.read_bytes()[:400])


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "bomb.png": (
        lambda path: path.write_bytes(png_of(14_000, 14_000)),
        "196 million pixels, more than 179 million; scale it down: only 16 x 16 are used",
    ),
    "cut.png": (cut_off, "cut off or damaged: .*; copy or download it again"),
    "cut.jpg": (cut_off, "cut off or damaged: .*; copy or download it again"),
    "cut.bmp": (cut_off, "cut off or damaged: .*; copy or download it again"),
    "cut.webp": (cut_off, "damaged"),
    "empty.jpg": (lambda path: path.touch(), "the file is empty; copy or download it again"),
    "zeros.jpg": (lambda path: path.write_bytes(bytes(900)), "begins with zeros"),
    "page.jpg": (lambda path: path.write_text("<!DOCTYPE html><p>404"), "a web page, not an image; download"),
    "lfs.jpg": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "text.jpg": (
        lambda path: path.write_text("hello"),
        "Pillow cannot read it as an image, .*; save it as PNG or JPEG",
    ),
    "pipe.jpg": (os.mkfifo, "is a pipe, socket or device, not an image file"),
    "folder.jpg": (os.mkdir, "is a folder, not an image file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_read_is_named_with_what_helps(tmp_path: Path, name: str) -> None:
    make, said = WRONG[name]
    make(tmp_path / name)
    message = refusal(tmp_path / name)
    assert str(tmp_path / name) in message
    assert re.search(said, message), message
    assert "\n" not in message


def test_names_that_are_not_utf_8_or_break_the_line_stand_escaped_in_messages(tmp_path: Path) -> None:
    for raw, shown in ((b"Pl\xe4tze.jpg", r"Pl\xe4tze.jpg"), (b"two\nlines.jpg", r"two\nlines.jpg")):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + raw))
        path.touch()
        assert shown in refusal(path)
        refusal(path).encode()
        path.unlink()
        write_image(path, 7)
        assert (read(path) == 7).all()
