"""Calls to the service that outlast its absence."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.client import NoService, ProblemError

T = TypeVar("T")
LONGEST_WAIT_S = 2.0
MOST_STUMBLES = 30
"""About a minute."""
_OURS_TO_WAIT = frozenset({401, 403, 408, 425, 429})  # a key being changed, a service that is busy: it may pass

log = logging.getLogger(__name__)


async def until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Returns the answer, however long the service is away.

    Raises ProblemError for what it refuses for good, and for what it stumbles over again and again: a 500 is a bug of
    the service that another try does not mend, and the caller may have something else to say.
    """
    wait, stumbles = 0.1, 0
    while True:
        try:
            return await call()
        except NoService as away:
            reason: Exception = away
        except ProblemError as problem:
            if problem.status < 500 and problem.status not in _OURS_TO_WAIT:
                raise
            stumbles = stumbles + 1 if problem.status == 500 else 0
            if stumbles > MOST_STUMBLES:
                raise
            reason = problem
        log.warning("%s; trying again", str(reason).splitlines()[0])
        await asyncio.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT_S)
