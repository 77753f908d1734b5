"""Table of sessions and of links that begin one."""

from datetime import datetime

from sqlalchemy import ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base


class Session(Base):
    """A secret that stands for a key: it may do what the key may, for as long as the key works, and not longer."""

    __tablename__ = "sessions"

    secret_hash: Mapped[str] = mapped_column(primary_key=True)
    """SHA-256 of the whole secret, which holds 128 random bits or more."""
    key: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    link: Mapped[bool]
    """Whether it is only good for exchanging it for a session, once."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
