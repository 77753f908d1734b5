"""Table of uploaded data sets."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base

SOURCE = "uploaded"
"""Data source of the catalogue that reads them."""


class Dataset(Base):
    """An archive of a folder of images; its parts lie in the storage."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("project", "name", name="uq_datasets_name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.name"))
    owner: Mapped[str]
    name: Mapped[str]
    """By which jobs of the project name it."""
    bytes: Mapped[int] = mapped_column(BigInteger)
    """Of the archive, as announced."""
    sha256: Mapped[str]
    """Of the archive, as announced; a worker sees whether it is so."""
    job: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    """The job that counts, hashes and decodes it."""
    completed_at: Mapped[datetime | None]
    """When all of it was there."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    touched_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When something of it last came."""
