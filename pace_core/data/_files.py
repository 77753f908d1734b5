"""A phase's splits out of lists of image files, as all sources that read files make them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pace_core.data._listing import Listed, Listing, content_hash, cut, hashes_of, in_one_message
from pace_core.data._report import report_of
from pace_core.data._source import Source
from pace_core.data._splits import ImageSet, Phase, Splits, StreamedImages
from pace_core.data._threads import in_order
from pace_core.decoding import Decoded, decode
from pace_core.passed_over import Passed
from pace_core.preprocessing import Preprocessing
from pace_core.registry import P
from pace_core.remote import named_by_url
from pace_core.spec import ParamsModel, Reporter, RunError
from pace_core.spec.data_report import DataReport

HELD_BYTES = 256 * 2**20
"""Images to measure on are held in memory up to this; more are decoded again whenever they are measured on."""
_SECONDS_BETWEEN_REPORTS = 0.5
_DARK = 2**16 // 8
CLOSED = "test image, kept closed in a search"
"""Why a search passes an image over."""


Background = Annotated[str | None, Field(pattern="^(white|black|grey|#[0-9a-fA-F]{6})$")]


class FileParams(ParamsModel):
    """Parameters of how image files are read, whatever lists them."""

    exif: bool = True
    """Turn photographs upright as their EXIF orientation says; off in the papers' code."""
    background: Background = "white"
    """What transparent images are laid on: white, black, grey or a colour such as #ff8000. Where null, transparency is
    ignored, as in the papers' code."""


class PublishedParams(FileParams):
    """Parameters of published benchmarks, whose images are read as the code behind their rows reads them."""

    exif: bool = False
    """Turn photographs upright as their EXIF orientation says; off, as in the published rows."""
    background: Background = None
    """What transparent images are laid on, such as white; where null, transparency is ignored, as in the published
    rows."""


class UserParams(FileParams):
    """Parameters that users choose for images of their own."""

    on_unreadable: Literal["fail", "skip"] = "fail"
    """fail: the run ends before training and lists the files that cannot be read. skip: it goes on without them, and
    counts them in its result."""
    val_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of each class's training images to choose settings by, where there are no validation images."""
    split_seed: int = Field(default=0, ge=0)
    """Another seed cuts other images."""
    final_trains_on_val: bool = True
    """Whether a final run trains on the validation images too, as VTAB-1K does and few-shot benchmarks do not; where
    there are none, whether on the share that a search would choose by."""


def file_source(
    *, listed: Callable[..., Listing], params: type[P], load: Callable[..., Splits] | None = None, **declared: Any
) -> Source[P]:
    """Declares a source by what lists its files: listed(params, *, phase, num_classes).

    load: in the place of decoding every listed file. declared: the other fields of Source.
    """

    def load_listed(
        given: P, *, phase: Phase, num_classes: int | None, preprocessing: Preprocessing, reporter: Reporter
    ) -> Splits:
        unreadable = given.on_unreadable if isinstance(given, UserParams) else "fail"
        with named_by_url():
            listing = listed(given, phase=phase, num_classes=num_classes)
            return splits(
                listing, phase=phase, preprocessing=preprocessing, on_unreadable=unreadable, reporter=reporter
            )

    def survey(given: P, *, phase: Phase, num_classes: int | None = None) -> DataReport:
        with named_by_url():
            return report_of(listed(given, phase=phase, num_classes=num_classes), _measured(phase))

    def fingerprint(given: P, *, phase: Phase, num_classes: int | None = None) -> str:
        return content_hash(listed(given, phase=phase, num_classes=num_classes))

    return Source(
        params=params, load=load or load_listed, survey=survey, fingerprint=fingerprint, listed=listed, **declared
    )


def _measured(phase: Phase) -> str:
    """Returns the split that the phase measures on."""
    return "val" if phase == "search" else "test"


def of_phase(
    phase: Phase,
    train: list[Listed],
    val: list[Listed],
    test: list[Listed],
    class_names: tuple[str, ...],
    passed: Passed,
    params: UserParams,
) -> Listing:
    """Returns what the phase trains and measures on, out of all splits; `val` may be empty."""
    if phase == "final" and params.final_trains_on_val:
        return Listing([*train, *val], test, class_names, passed, from_validation=len(val))
    if not val:
        train, val = cut(train, params.val_fraction, params.split_seed)
    if phase == "search":
        for entry in test:
            passed.add(CLOSED, entry.path, class_name=class_names[entry.label], split="test")
        return Listing(train, val, class_names, passed)
    for entry in val:
        name = class_names[entry.label]
        passed.add("validation image, kept out of training", entry.path, class_name=name, split="val")
    return Listing(train, test, class_names, passed)


def splits(
    listing: Listing,
    *,
    phase: Phase,
    preprocessing: Preprocessing,
    on_unreadable: Literal["fail", "skip"] = "fail",
    reporter: Reporter,
) -> Splits:
    """Decodes every listed image once. Raises RunError if a split is empty, and for what cannot be read unless skipped.

    Training images are held in memory, and those to measure on where they are few.
    """
    measured = _measured(phase)
    _refuse_empty(listing.train, listing.measured, measured)
    held = len(listing.measured) * 3 * (preprocessing.resize_to or preprocessing.image_size) ** 2 <= HELD_BYTES
    reading = _Reading(preprocessing, reporter, len(listing.train) + len(listing.measured))
    train, train_images = reading.through(listing.train, "train", keep=True)
    other, other_images = reading.through(listing.measured, measured, keep=held)
    reading.judge(on_unreadable)
    _refuse_empty(train, other, measured)
    for entry, error, split in reading.unreadable:
        why = "missing" if error.reason == "data_missing" else "unreadable"
        listing.passed.add(why, entry.path, class_name=listing.class_names[entry.label], split=split)
    used = replace(listing, train=train, measured=other)
    report = report_of(used, measured, hashes=hashes_of(used))
    report = report.model_copy(update={"turned_upright": reading.turned, "laid_on_background": reading.transparent})

    labels = _labels(other)
    images = ImageSet(other_images, labels) if held else StreamedImages(tuple(other), labels)
    return Splits(
        train=ImageSet(train_images, _labels(train)),
        val=images if phase == "search" else None,
        test=images if phase == "final" else None,
        class_names=listing.class_names,
        report=report,
        measured_names=tuple(str(entry.path) for entry in other),
    )


def streamed(entries: Sequence[Listed], preprocessing: Preprocessing, reporter: Reporter) -> StreamedImages:
    """Decodes every file once, so that what cannot be read is known before training, and keeps none.

    Raises RunError for what cannot be read.
    """
    reading = _Reading(preprocessing, reporter, len(entries))
    reading.through(entries, "test", keep=False)
    reading.judge("fail")
    return StreamedImages(tuple(entries), _labels(entries))


def check_num_classes(given: int | None, found: int, where: str) -> None:
    """Refuses a number of classes that contradicts the data."""
    if given not in (None, found):
        raise RunError(
            "spec_invalid", f"task.num_classes: is {given}, but {where} has {found} classes; leave it out or correct it"
        )


def _refuse_empty(train: Sequence[Listed], measured: Sequence[Listed], name: str) -> None:
    for split, entries in (("train", train), (name, measured)):
        if not entries:
            raise RunError("data_missing", f"the {split} split is empty")


def _labels(entries: Sequence[Listed]) -> Tensor:
    return torch.tensor([entry.label for entry in entries], dtype=torch.int64)


@dataclass
class _Reading:
    """One pass over all files of a phase: what cannot be read is known before training begins."""

    preprocessing: Preprocessing
    reporter: Reporter
    total: int
    done: int = 0
    reported: float = 0.0
    unreadable: list[tuple[Listed, RunError, str]] = field(default_factory=list)
    """With the split of each."""
    deepest: int | None = None
    """Highest value of all 16-bit images."""
    turned: int = 0
    transparent: int = 0

    def through(
        self, listed: Sequence[Listed], split: str, *, keep: bool
    ) -> tuple[list[Listed], Tensor | tuple[Tensor, ...]]:
        """Returns the entries that can be read and, where they are to be kept, their images."""
        side = self.preprocessing.resize_to or self.preprocessing.image_size
        square = self.preprocessing.resize == "squash"
        array = np.empty((len(listed) if keep and square else 0, side, side, 3), dtype=np.uint8)
        readable: list[Listed] = []
        images: list[Tensor] = []
        for entry, found in zip(listed, in_order(self._read, listed), strict=True):
            self._count(found, entry, split)
            if isinstance(found, RunError):
                continue
            if keep and square:
                array[len(readable)] = found.pixels
            elif keep:
                images.append(torch.tensor(found.pixels))
            readable.append(entry)
        return readable, torch.from_numpy(array[: len(readable)]) if square else tuple(images)

    def _read(self, entry: Listed) -> Decoded | RunError:
        try:
            return decode(entry.path, self.preprocessing, entry.content)
        except RunError as error:
            return error

    def _count(self, found: Decoded | RunError, entry: Listed, split: str) -> None:
        if isinstance(found, RunError):
            self.unreadable.append((entry, found, split))
        else:
            self.turned += found.turned
            self.transparent += found.transparent
            if found.deepest is not None:
                self.deepest = max(found.deepest, self.deepest or 0)
        self.done += 1
        if self.done == self.total or time.monotonic() - self.reported > _SECONDS_BETWEEN_REPORTS:
            self.reported = time.monotonic()
            self.reporter.event("progress", {"stage": "data", "done": self.done, "total": self.total})

    def judge(self, on_unreadable: Literal["fail", "skip"]) -> None:
        """Raises RunError with the list of what cannot be read, unless that is skipped; warns of what looks wrong."""
        if self.unreadable and on_unreadable == "fail":
            reason = (
                "data_missing" if all(e.reason == "data_missing" for _, e, _ in self.unreadable) else "data_corrupt"
            )
            faults = [f"{entry.origin}: {error.message}" for entry, error, _ in self.unreadable]
            raise RunError(reason, in_one_message(faults))
        if self.deepest is not None and self.deepest < _DARK:
            message = (
                f"the 16-bit images are nearly black: their highest value is {self.deepest} of 65535; "
                "scale their values up to 65535 and save them again"
            )
            self.reporter.event("log", {"level": "warning", "message": message})
