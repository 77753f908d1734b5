"""What a data source gives."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Phase = Literal["search", "final"]
"""search: train on train, measure on val. final: train on train and val, measure on test once."""


@dataclass(frozen=True)
class ImageSet:
    """Images and their labels."""

    images: Tensor
    """uint8 [N, S, S, 3], RGB."""
    labels: Tensor
    """int64 [N], from 0."""

    def __post_init__(self) -> None:
        assert (self.images.dtype, self.labels.dtype) == (torch.uint8, torch.int64)
        assert self.images.shape[3:] == (3,), "RGB comes last"
        assert self.labels.shape == self.images.shape[:1], "one label an image"

    def __len__(self) -> int:
        return len(self.labels)

    def joined(self, other: "ImageSet") -> "ImageSet":
        """These images and then the other's."""
        return ImageSet(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]))


@dataclass(frozen=True)
class Splits:
    """What a phase trains on and what it measures on: val in a search, test in a final run."""

    train: ImageSet
    val: ImageSet | None
    test: ImageSet | None
    class_names: tuple[str, ...]
    """In the order of the labels."""

    def __post_init__(self) -> None:
        assert (self.val is None) != (self.test is None), "a phase measures on exactly one split"

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def measured(self) -> tuple[Literal["val", "test"], ImageSet]:
        """The split that the phase measures on, with its name."""
        if self.val is not None:
            return "val", self.val
        assert self.test is not None
        return "test", self.test
