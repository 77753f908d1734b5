"""Tables of the clusters that have asked for work, and of what in them takes no jobs for now."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, func, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base


class Cluster(Base):
    """A Ray cluster, by its one dispatcher, as its newest lease request described it."""

    __tablename__ = "clusters"

    name: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    """Raised by every lease request; an older one still waiting then takes nothing any more."""
    slots: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    """All of them, busy ones too."""
    data: Mapped[dict[str, Any]]
    """Path of a task's data → whether its nodes have them, as far as they have looked."""
    code_version: Mapped[str]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When it last asked for work."""
    dispatcher: Mapped[str] = mapped_column(server_default="")
    """Id of the start of the dispatcher that serves it; empty where that one has left."""
    heard_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When that dispatcher was last heard of."""
    proof: Mapped[str] = mapped_column(server_default="")
    """Name of the file in the storage by which its nodes prove that they reach it."""
    reserved: Mapped[dict[str, Any] | None]
    """The `node` that takes no smaller jobs until `job` fits there."""


class Closure(Base):
    """A slot, a node (slot empty) or a whole cluster (node empty too) that takes no jobs for now."""

    __tablename__ = "closures"

    cluster: Mapped[str] = mapped_column(ForeignKey("clusters.name", ondelete="CASCADE"), primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    slot: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    owner: Mapped[str]
    """Who closed it; empty for the service itself."""
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    until: Mapped[datetime | None]
    """When it opens by itself; None: never."""
    lifted_at: Mapped[datetime | None]
    """When an operator ended the quarantine: what broke before no longer counts."""


class Installation(Base):
    """The one row that says which installation of the service this database is of."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("one", name="one"),)

    one: Mapped[bool] = mapped_column(primary_key=True, server_default=true())
    id: Mapped[str]
    """Random; Ray's namespaces and the proofs of the storage are named by it."""
