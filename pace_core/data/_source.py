"""The declaration of a data source."""

from collections.abc import Callable
from dataclasses import dataclass

from pace_core.data._listing import Listed, Listing
from pace_core.data._splits import Splits
from pace_core.registry import Entry, P
from pace_core.spec.catalogue import Gives
from pace_core.spec.data_report import DataReport


@dataclass(frozen=True, kw_only=True)
class Source(Entry[P]):
    """A source of data sets: how a task's images are read, and how their content is identified."""

    load: Callable[..., Splits]
    """load(params, *, phase, num_classes, preprocessing, reporter) returns the images that the phase may open; in the
    phase `search` no file of the test split is opened."""
    survey: Callable[..., DataReport]
    """survey(params, *, phase, num_classes) returns what a run would use, without opening an image."""
    fingerprint: Callable[..., str]
    """fingerprint(params, *, phase, num_classes) returns the SHA-256 of the data that the phase may open; it does not
    depend on where the data is stored."""
    listed: Callable[..., Listing] | None = None
    """listed(params, *, phase, num_classes) returns the files that the phase would open; None where there are none."""
    others: Callable[..., dict[str, list[Listed]]] | None = None
    """others(params) returns the files of the test sets that a final run measures beside its own, by task."""
    phases: tuple[str, ...] = ("search", "final")
    """Phases that the source has data for."""
    gives: Gives = "images"
    """What its samples are, which says what kind of backbone reads them."""
