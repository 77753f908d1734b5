"""Report of a run's data: used, passed over and why, twice there. Small, whatever the size of the data set."""

from pydantic import BaseModel, ConfigDict

NAMED_CLASSES = 100
NAMED_REASONS = 20


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class ClassImages(_Report):
    """One class's row of the table."""

    name: str
    images: dict[str, int]
    """Split (train, and val or test) → images used."""
    passed_over: int = 0
    left_out: dict[str, dict[str, int]] = {}
    """Split → why → how many of the class are passed over; `all`: of a folder from which the splits are cut."""


class PassedOver(_Report):
    """Files or folders that are not used, for one reason."""

    why: str
    """Such as `ending .xml`, `hidden`, `system folder @eaDir`, `unreadable`."""
    count: int
    examples: list[str]
    """Up to three paths."""


class Duplicates(_Report):
    """Files with the same bytes as another."""

    within_split: int = 0
    """Files that repeat an earlier one of the same split and label."""
    two_labels: int = 0
    """Contents that stand under more than one label."""
    in_training_too: int = 0
    """Files to measure on that are training files too."""
    examples: list[str] = []
    """Up to three pairs of paths."""


class DataReport(_Report):
    """The table of class and split that a run logs."""

    classes: int
    images: dict[str, int]
    """Split → images used."""
    from_validation: int = 0
    """How many of the training images are validation images, which join it in a final run."""
    per_class: list[ClassImages] = []
    """Every class in the order of labels; of more than a hundred classes, the hundred with the fewest images."""
    passed_over: list[PassedOver] = []
    """The twenty most frequent reasons."""
    duplicates: Duplicates | None = None
    """None where the files were not read (a dry run) or come from no files."""
    rare_classes: int = 0
    """Classes with fewer than two images over all splits."""
    unmeasured_classes: int = 0
    """Classes with two images or more to train on and none to measure on."""
    unmeasured: list[str] = []
    """Up to five of their names."""
    alike: list[list[str]] = []
    """Up to five groups of classes whose names differ in capitals or blanks only."""
    turned_upright: int = 0
    """Images turned by their EXIF orientation."""
    laid_on_background: int = 0
    """Images with transparency."""
    unit: str = "images"
    """What the samples are called."""
