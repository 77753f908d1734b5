"""A submission that is sent again gets the answer of the first time."""

import hashlib
import json
from collections.abc import Awaitable, Callable
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
    route = f"POST {path}"
    if key is not None:
        earlier = await _earlier_answer(session, caller, route, key, await request.json())
        if earlier:
            status, content = earlier
            return _answer(path, content, status, {"Idempotent-Replayed": "true"})
    content = await make()
    if key is not None:
        await _keep_answer(session, caller, route, key, 202, content)
    return _answer(path, content, 202, {})


def _answer(path: str, content: dict[str, Any], status: int, headers: dict[str, str]) -> Response:
    return JSONResponse(content, status, headers={"Location": f"{path}/{content['id']}"} | headers)


async def _earlier_answer(
    session: AsyncSession, caller: Caller, route: str, key: str, body: Any
) -> tuple[int, dict[str, Any]] | None:
    """Returns status and answer that this Idempotency-Key got before; None where it is new, which it then no longer is.

    Call `_keep_answer` in the same transaction. A second request with the key waits here for the first one's commit.
    Raises KeyReused where it came with another body.
    """
    body_hash = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    row: dict[str, Any] = {
        "api_key": caller.key_id,
        "route": route,
        "key": key,
        "body_hash": body_hash,
        "status": 0,
        "answer": {},
    }
    taken = await session.execute(
        insert(IdempotencyKey).values(**row).on_conflict_do_nothing().returning(IdempotencyKey.key)
    )
    if taken.first() is not None:
        return None
    stored = await session.get_one(IdempotencyKey, (caller.key_id, route, key))
    if stored.body_hash != body_hash:
        raise KeyReused(f"Idempotency-Key {key!r} was used for another request; use a new key for a new request")
    return stored.status, stored.answer


async def _keep_answer(
    session: AsyncSession, caller: Caller, route: str, key: str, status: int, answer: dict[str, Any]
) -> None:
    """Keeps the answer for when the request comes again."""
    stored = await session.get_one(IdempotencyKey, (caller.key_id, route, key))
    stored.status, stored.answer = status, answer
