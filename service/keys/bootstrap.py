"""The first keys of an installation."""

import getpass
from dataclasses import dataclass

from service.db import Database
from service.keys.secrets import adopt_key, create_key
from service.keys.tables import Role
from service.migrate import migrate


@dataclass(frozen=True)
class Keys:
    """What the local stack starts with."""

    admin: str
    """For the person at this machine."""
    worker: str
    """For dispatcher and tracking."""


async def bootstrap(database_url: str, known: Keys | None = None) -> Keys:
    """Migrates the database and gives the keys of the project `default`: new ones, or `known` where they are stored.

    Keys that an earlier start made are taken over, so that a stack whose database was wiped goes on with them.
    """
    await migrate(database_url)
    database = Database(database_url, pool_size=1)
    owner = getpass.getuser()
    try:
        async with database.transaction() as session:
            if known:
                await adopt_key(session, known.admin, Role.ADMIN, owner)
                await adopt_key(session, known.worker, Role.WORKER, "worker")
                return known
            admin = await create_key(session, Role.ADMIN, owner)
            return Keys(admin=admin, worker=await create_key(session, Role.WORKER, "worker"))
    finally:
        await database.close()
