"""The roles of keys."""

from enum import StrEnum


class Role(StrEnum):
    """The role of a key: what it may do."""

    USER = "user"
    """Its own project's jobs."""
    READER = "reader"
    """Its own project's jobs, to look at only."""
    WORKER = "worker"
    """Leases, reports and heartbeats of one cluster; belongs to the installation, not to a project."""
    TRACKING = "tracking"
    """All jobs' events, its cursor, links and heartbeats; belongs to the installation and takes no leases."""
    ADMIN = "admin"
    """Everything that people do, in every project; takes no leases."""


PARTS = frozenset({Role.WORKER, Role.TRACKING})
"""Roles of the installation's own processes, which have no project."""
