"""Data sources, one per file: each gives a task's images as uint8 arrays, or its texts as tokens."""

import sys
from typing import Any

from pace_core import registry
from pace_core.data._check import Checked, as_csv, check
from pace_core.data._report import table, tell, warnings_of
from pace_core.data._source import Source
from pace_core.data._splits import (
    Images,
    ImageSet,
    Metric,
    Phase,
    ProblemSet,
    Samples,
    Splits,
    StreamedImages,
    Target,
    TextSet,
)

__all__ = [
    "Checked",
    "ImageSet",
    "Images",
    "Metric",
    "Phase",
    "ProblemSet",
    "Samples",
    "Source",
    "Splits",
    "StreamedImages",
    "Target",
    "TextSet",
    "as_csv",
    "check",
    "entries",
    "find",
    "table",
    "tell",
    "warnings_of",
]


def entries() -> dict[str, Source[Any]]:
    """Returns all data sources by name."""
    return registry.load(sys.modules[__name__], Source)


def find(name: str) -> Source[Any]:
    """Returns a data source by its name, and loads no other. Raises KeyError for an unknown one."""
    return registry.find(sys.modules[__name__], Source, name)
