"""The first keys of an installation."""

import getpass
from collections.abc import Mapping
from dataclasses import dataclass

from service.db import Database
from service.keys.roles import PARTS, Role
from service.keys.secrets import adopt_key, create_key
from service.migrate import migrate


@dataclass(frozen=True)
class Keys:
    """The keys that the local stack starts with, one for each role."""

    admin: str
    """For the person at this machine, where keys, projects and clusters are managed."""
    user: str
    """For the person's jobs; what `client.json` holds and may be handed over."""
    reader: str
    worker: str
    """For the dispatcher."""
    tracking: str
    """For what fills MLflow."""


async def bootstrap(database_url: str, known: Mapping[str, str] | None = None) -> Keys:
    """Migrates the database and gives a key for each role: those of `known` (role → secret), new ones for the others.

    Keys that an earlier start made are taken over, so that a stack whose database was wiped goes on with them.
    """
    await migrate(database_url)
    database = Database(database_url, pool_size=1)
    person, keys = getpass.getuser(), dict(known or {})
    try:
        async with database.transaction() as session:
            for role in Role:
                owner = str(role) if role in PARTS else person
                if role in keys:
                    await adopt_key(session, keys[role], role, owner)
                else:
                    keys[role] = await create_key(session, role, owner)
        return Keys(**{str(role): keys[role] for role in Role})
    finally:
        await database.close()
