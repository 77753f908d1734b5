"""Answers about limits."""

from pydantic import BaseModel, ConfigDict


class ProjectLimits(BaseModel):
    """Limits of the key's project, and what it has."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    project: str
    max_queued: int
    queued: int
    max_running: int
    running: int
    highest_priority: int
    """For users; admins go up to 100."""
    default_max_runtime_s: float
    """Of a job that does not say."""
    max_stored_bytes: int
    stored_bytes: int
    """As of the last measurement, some minutes ago."""


class LimitsView(BaseModel):
    """Every limit that a request can meet."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    max_body_bytes: int
    max_report_bytes: int
    max_tags: int
    keep_uploads_s: float
    """So long an unfinished upload of a data set can be gone on with."""
    project: ProjectLimits | None
    """None for keys without a project."""
