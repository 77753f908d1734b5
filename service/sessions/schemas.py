"""Requests and answers about sessions."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class NewSession(BaseModel):
    """A session or a link, with its secret, which is not shown again."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    secret: str
    """Of a session: sent in the place of a key. Of a link: exchanged for a session, once."""
    expires_at: datetime


class Exchange(BaseModel):
    """A link that is exchanged for a session."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    link: str = Field(min_length=1, max_length=200)
    """Its secret."""
