"""Images and labels as data sources give them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pace_core.data._listing import Listed
from pace_core.data._threads import in_order
from pace_core.decoding import decode
from pace_core.preprocessing import Pixels, Preprocessing
from pace_core.spec.data_report import DataReport
from pace_core.tokenization import Tokenization

Phase = Literal["search", "final"]
"""search: train on train, measure on val. final: train on what the source says, measure on test once."""


@dataclass(frozen=True)
class ImageSet:
    """Images in memory, and their labels."""

    images: Tensor | tuple[Tensor, ...]
    """uint8 [N, S, S, 3], RGB; where aspect ratios are kept, [H, W, 3] each."""
    labels: Tensor
    """int64 [N], from 0."""

    def __post_init__(self) -> None:
        assert self.labels.dtype == torch.int64
        assert len(self.labels) == len(self.images), "one label an image"
        for image in self.images[:1]:
            assert (image.dtype, image.shape[2:]) == (torch.uint8, (3,)), "RGB comes last"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def stored(self) -> Tensor | tuple[Tensor, ...]:
        """What is held of the samples."""
        return self.images

    def joined(self, other: "ImageSet") -> "ImageSet":
        """Returns these images followed by the other's."""
        assert isinstance(self.images, Tensor)
        assert isinstance(other.images, Tensor)
        return ImageSet(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]))

    def chunks(self, preprocessing: Preprocessing, batch: int) -> Iterator[Tensor]:
        """Yields what the network sees of the images, in order, as uint8 [batch, S, S, 3]."""
        for start in range(0, len(self), batch):
            yield torch.stack([preprocessing.middle(image) for image in self.images[start : start + batch]])


@dataclass(frozen=True)
class StreamedImages:
    """Images too many to hold: each time they are asked for, threads decode them anew, a little ahead of their use."""

    files: tuple[Listed, ...]
    labels: Tensor
    """int64 [N], from 0."""

    def __len__(self) -> int:
        return len(self.labels)

    def chunks(self, preprocessing: Preprocessing, batch: int) -> Iterator[Tensor]:
        """Yields the same as an ImageSet; about two batches are in memory. Raises RunError for a file that is gone."""
        decoded = in_order(partial(_square, preprocessing), self.files, ahead=batch)
        while images := list(islice(decoded, batch)):
            yield torch.from_numpy(np.stack(images))


def _square(preprocessing: Preprocessing, file: Listed) -> Pixels:
    return preprocessing.middle(decode(file.path, preprocessing, file.content).pixels)


@dataclass(frozen=True)
class TextSet:
    """Texts in memory as tokens, and their labels."""

    tokens: Tensor
    """int32 [N, 3, length], as a Tokenization makes them."""
    labels: Tensor
    """int64 [N], from 0; float32 [N] where they are scores."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def stored(self) -> Tensor:
        """What is held of the samples."""
        return self.tokens

    def chunks(self, preprocessing: Tokenization, batch: int) -> Iterator[Tensor]:
        """Yields the tokens in order, int32 [batch, 3, length]."""
        yield from self.tokens.split(batch)


@dataclass(frozen=True)
class ProblemSet:
    """Problems to be answered in words, and their final numbers."""

    problems: tuple[str, ...]
    """As the model is asked, without its chat template."""
    numbers: tuple[str, ...]
    """Right final number of each."""
    new_tokens: int
    """Tokens of the longest answer."""

    def __len__(self) -> int:
        return len(self.problems)


Images = ImageSet | StreamedImages
Samples = Images | TextSet
Metric = Literal["accuracy", "matthews", "pearson", "exact_match"]


@dataclass(frozen=True)
class Target:
    """Other images of the same classes, which a final run measures once, after its own test."""

    task: str
    """Short name of the benchmark's task that this measures."""
    images: Images
    classes: tuple[int, ...] | None = None
    """Labels whose logits are compared; all where None."""


@dataclass(frozen=True)
class Splits:
    """The data of a phase: what it trains on, and what it measures on (val in a search, test in a final run)."""

    train: ImageSet | TextSet
    val: Samples | ProblemSet | None
    test: Samples | ProblemSet | None
    class_names: tuple[str, ...]
    """In the order of the labels."""
    report: DataReport
    targets: tuple[Target, ...] = ()
    measured_names: tuple[str, ...] = ()
    """Of the images that the phase measures on, by which their owner finds them; empty where they have none."""
    metric: Metric = "accuracy"
    """What the task is measured by."""
    unit: str = "image"
    """What a sample is called."""

    def __post_init__(self) -> None:
        assert (self.val is None) != (self.test is None), "a phase measures on exactly one split"

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def scored(self) -> bool:
        """Whether labels are scores instead of classes."""
        return self.train.labels.is_floating_point()

    @property
    def measured(self) -> tuple[Literal["val", "test"], Samples | ProblemSet]:
        """The split that the phase measures on, with its name."""
        if self.val is not None:
            return "val", self.val
        assert self.test is not None
        return "test", self.test
