"""Preprocessing from pixels to the network's input: the one transform of training, evaluation and prediction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Pixels = NDArray[np.uint8]
"""One image, uint8 [H, W, 3], RGB."""
_LONGEST = 8  # of a panorama, the middle: as wide as eight of its heights

Resize = Literal["squash", "short_side"]


@dataclass(frozen=True)
class Preprocessing:
    """The whole transform, as an adapter carries it; the defaults are what adapters that say nothing were made with."""

    image_size: int
    """Side of the network's square input."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize = "squash"
    """squash: to a square, as VTAB-1K does. short_side: the aspect ratio is kept, as FGVC and few-shot do."""
    resize_to: int | None = None
    """Side of that square, or the shorter side; `image_size` where None. The network sees `image_size` of it."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    exif: bool = False
    """Whether photographs are turned upright as their EXIF orientation says."""
    background: str | None = None
    """What transparent images are laid on; where None, transparency is ignored."""

    @classmethod
    def of(cls, *, augmentation: str, image_size: int, **rest: Any) -> "Preprocessing":
        """Returns the transform that goes with a training augmentation: crops are taken out of 256 pixels for 224."""
        if augmentation != "crop_flip":
            return cls(image_size=image_size, **rest)
        larger = image_size * 8 // 7
        return cls(image_size=image_size, resize="short_side", resize_to=larger, interpolation="bilinear", **rest)

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> "Preprocessing":
        """Restores a transform from `asdict`'s output in JSON. Raises KeyError or TypeError for all else."""
        return cls(**{**said, "mean": tuple(said["mean"]), "std": tuple(said["std"])})

    def resized(self, image: Image.Image) -> Pixels:
        """Resizes an RGB image to the size that crops are taken from.

        With `short_side` sizes are rounded as torchvision's Resize does; of an image more than eight times as long as
        it is wide, the middle is taken.
        """
        side = self.resize_to or self.image_size
        filter_ = Image.Resampling[self.interpolation.upper()]
        if self.resize == "squash":
            return np.asarray(image if image.size == (side, side) else image.resize((side, side), filter_))
        short = min(image.size)
        width, height = (min(length, _LONGEST * short) for length in image.size)
        if (width, height) != image.size:
            left, top = (image.width - width) // 2, (image.height - height) // 2
            image = image.crop((left, top, left + width, top + height))
        size = (int(side * width / short), int(side * height / short))
        return np.asarray(image if image.size == size else image.resize(size, filter_))

    def middle(self, pixels: Pixels | Tensor) -> Any:
        """Returns the central square [image_size, image_size, 3] of one image, at torchvision's CenterCrop's place."""
        top, left = (round((side - self.image_size) / 2) for side in pixels.shape[:2])
        return pixels[top : top + self.image_size, left : left + self.image_size]

    def __call__(self, squares: Tensor, dtype: torch.dtype) -> Tensor:
        """Normalizes uint8 [b, size, size, 3] to [b, 3, size, size]: (x / 255 - mean) / std."""
        assert squares.shape[1:] == (self.image_size, self.image_size, 3), "squares of the network's size are expected"
        pixels = squares.permute(0, 3, 1, 2).to(dtype) / 255
        mean, std = (pixels.new_tensor(value).view(1, 3, 1, 1) for value in (self.mean, self.std))
        return ((pixels - mean) / std).contiguous()
