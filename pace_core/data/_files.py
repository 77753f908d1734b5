"""From a list of image files to a phase's splits: what all sources that read files share."""

import torch

from pace_core.data._cache import decoded
from pace_core.data._listing import Listing
from pace_core.data._splits import ImageSet, Phase, Splits
from pace_core.spec import Reporter, RunError


def splits(listing: Listing, *, phase: Phase, image_size: int, reporter: Reporter) -> Splits:
    """Every listed image decoded. Raises RunError if a split is empty or a file is missing or broken."""
    measured = "val" if phase == "search" else "test"
    for name, entries in (("train", listing.train), (measured, listing.measured)):
        if not entries:
            raise RunError("data_missing", f"the {name} split is empty")
    every = [*listing.train, *listing.measured]
    images = torch.from_numpy(decoded(every, image_size, reporter))
    labels = torch.tensor([entry.label for entry in every])
    cut = len(listing.train)
    train, other = ImageSet(images[:cut], labels[:cut]), ImageSet(images[cut:], labels[cut:])
    return Splits(
        train=train,
        val=other if phase == "search" else None,
        test=other if phase == "final" else None,
        class_names=listing.class_names,
    )


def check_num_classes(given: int | None, found: int, where: str) -> None:
    """Refuse a number of classes that contradicts the data."""
    if given not in (None, found):
        raise RunError(
            "spec_invalid", f"task.num_classes: is {given}, but {where} has {found} classes; leave it out or correct it"
        )
