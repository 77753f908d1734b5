"""Who asks, and whether they may."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select

from service.db import Database
from service.keys.secrets import hashed
from service.keys.tables import ApiKey, Role
from service.problems import Forbidden, Unauthorized

_bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer pace_…`")


@dataclass(frozen=True)
class Caller:
    """Whoever holds the key of a request."""

    key_id: str
    role: Role
    owner: str
    project: str | None
    """None for workers."""

    def sees(self, project: str) -> bool:
        """Whether that project's jobs exist for this caller."""
        return self.role is not Role.USER or self.project == project


async def _caller(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]) -> Caller:
    if given is None:
        raise Unauthorized("send your API key as `Authorization: Bearer pace_…`; `pace up` and `pace status` name it")
    database: Database = request.app.state.database
    async with database.transaction() as session:  # its own, short: a long poll holds no connection
        found = await session.execute(
            select(ApiKey.id, ApiKey.role, ApiKey.owner, ApiKey.project).where(
                ApiKey.secret_hash == hashed(given.credentials), ApiKey.revoked_at.is_(None)
            )
        )
        row = found.one_or_none()
    if row is None:
        raise Unauthorized("this API key is unknown or revoked")
    return Caller(row.id, Role(row.role), row.owner, row.project)


AnyCaller = Annotated[Caller, Depends(_caller)]


async def _user(caller: AnyCaller) -> Caller:
    if caller.role is Role.WORKER:
        raise Forbidden("a worker's key submits and changes no jobs; use a user's")
    return caller


async def _worker(caller: AnyCaller) -> Caller:
    if caller.role is Role.USER:
        raise Forbidden("only workers do this; use a worker's key (`python -m service keys create --role worker`)")
    return caller


User = Annotated[Caller, Depends(_user)]
Worker = Annotated[Caller, Depends(_worker)]
