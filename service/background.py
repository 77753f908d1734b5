"""Work of the service that goes on beside the requests."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

AGAIN_S = 5.0
_log = structlog.get_logger()


async def keep_going(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Does work that never ends until cancelled. Should it end all the same, that is logged and it begins again: a
    service that seems well and no longer ends lost attempts would be worse than none."""
    while True:
        try:
            await work()
            _log.error("background work has ended; it begins again", work=name)
        except Exception:
            _log.exception("background work failed; it begins again", work=name)
        await asyncio.sleep(AGAIN_S)
