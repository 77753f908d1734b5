"""Image files become one array."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, Resize

from pace_core.data._cache import decoded
from pace_core.data._listing import Listed
from pace_core.spec import RunError
from tests.pace_core.data.writing import Silent, write_image


def read(path: Path, size: int = 16) -> np.ndarray:
    return decoded([Listed(path, 0, "here")], size, Silent())[0]


def test_images_are_resized_to_the_square_as_torchvision_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (37, 50, 3), dtype=np.uint8))
    image.save(tmp_path / "a.png")
    expected = Resize((16, 16), InterpolationMode.BICUBIC)(image)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), np.asarray(expected))


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


@pytest.mark.parametrize(("kind", "dtype"), [("F", np.float32), ("I", np.int32)])
def test_pixels_without_a_known_white_are_refused_and_not_read_as_black(tmp_path: Path, kind: str, dtype: type) -> None:
    Image.fromarray(np.ones((9, 9), dtype=dtype)).save(tmp_path / "a.tiff")
    with pytest.raises(RunError, match=f"a.tiff cannot be decoded .mode {kind} .* 8 or 16 bits") as refused:
        read(tmp_path / "a.tiff")
    assert refused.value.reason == "data_corrupt"


def test_order_is_the_lists_and_progress_is_told(tmp_path: Path) -> None:
    listed = [Listed(write_image(tmp_path / f"{i}.png", i), 0, "here") for i in range(50)]
    told = Silent()
    assert torch.from_numpy(decoded(listed, 4, told))[:, 0, 0, 0].tolist() == list(range(50))
    assert told.events[-1] == ("progress", {"stage": "data", "done": 50, "total": 50})
