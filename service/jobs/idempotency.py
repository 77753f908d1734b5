"""A submission that is sent again gets the answer of the first time."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.jobs.tables import IdempotencyKey
from service.keys.auth import Caller
from service.problems import KeyReused


async def made_once(
    request: Request,
    session: AsyncSession,
    caller: Caller,
    path: str,
    key: str | None,
    make: Callable[[], Awaitable[dict[str, Any]]],
) -> Response:
    """Answers 202 with what `make` made, at `path`/id; where the key came before, with the answer of that time.

    Raises KeyReused where it came with another body.
    """
    if key is None:
        return answered(path, await make())
    row = await row_of(request, caller, path, key)
    # a second request with the key waits here for the first one's commit
    taken = insert(IdempotencyKey).values(**row, status=0, answer={}).on_conflict_do_nothing()
    if (await session.execute(taken.returning(IdempotencyKey.key))).first() is None:
        earlier = await replayed(session, path, row)
        assert earlier is not None, "whoever took the key has committed"
        return earlier
    content = await make()
    stored = await session.get_one(IdempotencyKey, _primary(row))
    stored.status, stored.answer = 202, content
    return answered(path, content)


async def row_of(request: Request, caller: Caller, path: str, key: str) -> dict[str, Any]:
    """Returns what is stored of the request's Idempotency-Key, except the answer."""
    body_hash = hashlib.sha256(json.dumps(await request.json(), sort_keys=True).encode()).hexdigest()
    return {"api_key": caller.key_id, "route": f"POST {path}", "key": key, "body_hash": body_hash}


async def replayed(session: AsyncSession, path: str, row: dict[str, Any]) -> Response | None:
    """Returns the answer that this key got before; None where it is new. Raises KeyReused for another body."""
    stored = await session.get(IdempotencyKey, _primary(row), populate_existing=True)
    if stored is None:
        return None
    if stored.body_hash != row["body_hash"]:
        raise KeyReused(f"Idempotency-Key {row['key']!r} was used for another request; use a new key for a new request")
    return answered(path, stored.answer, stored.status, {"Idempotent-Replayed": "true"})


def answered(
    path: str, content: dict[str, Any], status: int = 202, headers: Mapping[str, str] | None = None
) -> Response:
    """Returns the answer to a submission: what was made, and where it is found."""
    return JSONResponse(content, status, headers={"Location": f"{path}/{content['id']}", **(headers or {})})


def _primary(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["api_key"], row["route"], row["key"]
