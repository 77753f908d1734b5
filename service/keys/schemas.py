"""Requests and answers about keys."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from service.keys.roles import Role

_INPUT = ConfigDict(extra="forbid", use_attribute_docstrings=True, strict=False)
_OUTPUT = ConfigDict(from_attributes=True, extra="ignore", use_attribute_docstrings=True)

Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@+-]*$")]
"""Of projects, owners, keys and clusters."""
DAY_S = 86_400.0
LONGEST_S = 3_660 * DAY_S


class KeyRequest(BaseModel):
    """A request for a new key."""

    model_config = _INPUT

    name: Name
    """What to call it, such as `laptop`."""
    role: Role = Role.USER
    owner: Name | None = None
    """Whose it is: the `owner` of the jobs submitted with it. The name where None."""
    project: Name | None = None
    """Where its jobs go; the caller's own where None. Not for workers and tracking."""
    cluster: Name | None = None
    """Of a worker's key only: the cluster that it leases for; `local` where None."""
    expires_in_s: float | None = Field(default=None, gt=0, le=LONGEST_S, allow_inf_nan=False, strict=True)
    """Seconds until it stops working; None: it works until it is revoked."""


class Rotation(BaseModel):
    """A request for a new key in the place of another."""

    model_config = _INPUT

    overlap_s: float = Field(default=DAY_S, ge=0, le=90 * DAY_S, allow_inf_nan=False, strict=True)
    """Seconds for which the old key still works."""
    expires_in_s: float | None = Field(default=None, gt=0, le=LONGEST_S, allow_inf_nan=False, strict=True)
    """For the new one, where an admin asks; else it expires when the old one would have."""


class KeyView(BaseModel):
    """A key, without its secret."""

    model_config = _OUTPUT

    id: str
    name: str
    role: Role
    owner: str
    project: str | None
    cluster: str | None
    created_at: datetime
    last_used_at: datetime | None
    """To the minute."""
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKey(KeyView):
    """A key that was made now, with its secret, which is not shown again."""

    secret: str


class Revoked(BaseModel):
    """The keys that were made useless."""

    model_config = _OUTPUT

    revoked: list[str]
