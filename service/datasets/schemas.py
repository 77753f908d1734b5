"""Requests and answers about uploaded data sets."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pace_core.spec.data_report import DataReport

_OUTPUT = ConfigDict(use_attribute_docstrings=True)


class DatasetRequest(BaseModel):
    """Announcement of an upload."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"name": "photos", "bytes": 1000, "sha256": "0" * 64}]},
    )

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """By which jobs name it as `task.dataset`: letters, digits, dots, lines and underscores."""
    bytes: Annotated[int, Field(gt=0, lt=2**50, strict=True)]
    """Of the archive: a zip or tar file of class folders, of a CSV and its images, of parquet files, of what
    save_to_disk wrote, or of shards."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the archive."""
    project: Annotated[str, Field(max_length=100)] | None = None


class DatasetView(BaseModel):
    """An uploaded data set."""

    model_config = _OUTPUT

    id: str
    project: str
    owner: str
    name: str
    bytes: int
    sha256: str
    received: int
    """Bytes that are there without a gap: where an interrupted upload goes on."""
    part_bytes: int
    """Of a part at most; all but the last have as many."""
    state: Literal["receiving", "checking", "ready", "failed"]
    """checking: a worker counts, hashes and decodes it; it can be named in jobs by then."""
    job: str | None
    """The job that checks it."""
    message: str | None
    """Why it failed."""
    data: DataReport | None
    """What the check found."""
    created_at: datetime


class DatasetPage(BaseModel):
    """Data sets, newest first."""

    model_config = _OUTPUT

    data: list[DatasetView]
    has_more: bool
    next_cursor: str | None
    """For `after`."""
