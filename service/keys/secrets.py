"""Makes, rotates and revokes API keys."""

import hashlib
import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import func

from service.ids import new_id
from service.keys.roles import PARTS, Role
from service.keys.tables import ApiKey
from service.projects.tables import Project
from service.wake import notify

DEFAULT_PROJECT = "default"
DEFAULT_CLUSTER = "local"


def hashed(secret: str) -> str:
    """Returns what is stored of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


def usable() -> ColumnElement[bool]:
    """Tells whether a key is neither revoked nor expired, by the database's clock."""
    return ApiKey.revoked_at.is_(None) & or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())


SESSION = "pace_session_"
"""How the secret of a session begins; a key's goes on with hexadecimal digits."""
KEY = "key"
"""First word of the topics of keys."""


def topic(key_id: str) -> str:
    """Returns the topic that is notified when the key stops working, so that its open streams end."""
    return f"{KEY} {key_id}"


async def make_key(
    session: AsyncSession,
    role: Role,
    owner: str,
    project: str | None = None,
    *,
    cluster: str | None = None,
    name: str = "",
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Makes a new key and its secret, which is shown this once.

    Its project (`default` where none is named) is made where it does not exist; a worker's cluster is `local` where
    none is named.
    """
    secret = f"pace_{secrets.token_hex(20)}"
    place = await _place(session, role, project, cluster)
    key = ApiKey(
        id=new_id("key"),
        secret_hash=hashed(secret),
        name=name,
        role=role,
        owner=owner,
        expires_at=expires_at,
        **place,
    )
    session.add(key)
    await session.flush()
    await session.refresh(key)
    return key, secret


async def create_key(
    session: AsyncSession, role: Role, owner: str, project: str | None = None, *, cluster: str | None = None
) -> str:
    """Creates a key and returns its secret; see `make_key`."""
    return (await make_key(session, role, owner, project, cluster=cluster))[1]


async def adopt_key(session: AsyncSession, secret: str, role: Role, owner: str) -> None:
    """Stores a key made elsewhere, for a stack whose keys outlive its database; does nothing where it is known."""
    place = await _place(session, role, None, None)
    row = {"id": new_id("key"), "secret_hash": hashed(secret), "role": role, "owner": owner, "name": "local", **place}
    await session.execute(insert(ApiKey).values(**row).on_conflict_do_nothing())


async def revoke(session: AsyncSession, *which: ColumnElement[bool]) -> list[str]:
    """Makes these keys useless at once and ends what is open with them; the ids of those that worked until now."""
    revoked = await session.execute(
        update(ApiKey).where(ApiKey.revoked_at.is_(None), *which).values(revoked_at=func.now()).returning(ApiKey.id)
    )
    ids = list(revoked.scalars())
    for key_id in ids:
        notify(session, topic(key_id))
    return ids


async def retire(session: AsyncSession, key_id: str, overlap_s: float) -> None:
    """Lets the key work for that much longer, and not beyond the expiry that it has."""
    until = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, overlap_s)
    await session.execute(
        update(ApiKey).where(ApiKey.id == key_id).values(expires_at=func.least(ApiKey.expires_at, until))
    )
    notify(session, topic(key_id))


async def usable_admins(session: AsyncSession) -> set[str]:
    """Ids of the admins' keys that work, locked against being revoked meanwhile."""
    found = await session.execute(select(ApiKey.id).where(ApiKey.role == Role.ADMIN, usable()).with_for_update())
    return set(found.scalars())


async def _place(session: AsyncSession, role: Role, project: str | None, cluster: str | None) -> dict[str, Any]:
    if role in PARTS:
        return {"project": None, "cluster": (cluster or DEFAULT_CLUSTER) if role is Role.WORKER else None}
    project = project or DEFAULT_PROJECT
    await session.execute(insert(Project).values(name=project).on_conflict_do_nothing())
    return {"project": project, "cluster": None}
