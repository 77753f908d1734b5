"""Makes and revokes API keys."""

import hashlib
import secrets

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import func

from service.ids import new_id
from service.keys.tables import ApiKey, Project, Role

DEFAULT_PROJECT = "default"


def hashed(secret: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def create_key(session: AsyncSession, role: Role, owner: str, project: str | None = None) -> str:
    """A new key, shown this once; its project (`default` where none is named) is made where it does not exist."""
    secret = f"pace_{secrets.token_hex(20)}"
    if role is not Role.WORKER:
        project = project or DEFAULT_PROJECT
        await session.execute(insert(Project).values(name=project).on_conflict_do_nothing())
    session.add(
        ApiKey(
            id=new_id("key"),
            secret_hash=hashed(secret),
            role=role,
            project=None if role is Role.WORKER else project,
            owner=owner,
        )
    )
    await session.flush()
    return secret


async def adopt_key(session: AsyncSession, secret: str, role: Role, owner: str) -> None:
    """Stores a key made elsewhere, for a stack whose keys outlive its database; does nothing where it is known."""
    project = None if role is Role.WORKER else DEFAULT_PROJECT
    if project:
        await session.execute(insert(Project).values(name=project).on_conflict_do_nothing())
    row = {"id": new_id("key"), "secret_hash": hashed(secret), "role": role, "project": project, "owner": owner}
    await session.execute(insert(ApiKey).values(**row).on_conflict_do_nothing())


async def revoke_key(session: AsyncSession, secret: str) -> bool:
    """Makes the key useless at once; False where there is no such key."""
    result = await session.execute(
        update(ApiKey)
        .where(ApiKey.secret_hash == hashed(secret), ApiKey.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(ApiKey.id)
    )
    return result.first() is not None
