"""Whether the parts of the stack are there yet."""

import time
from collections.abc import Callable
from datetime import datetime

import httpx2
from pydantic import ValidationError

from service.client.models import PartState, Readiness


class StackError(RuntimeError):
    """The stack cannot be started, stopped or waited for; the message says why and what to do."""


def healthy(url: str, key: str) -> bool:
    """Whether the API answers there, and is the one that knows the key: another stack may have taken the port."""
    headers = {"Authorization": f"Bearer {key}"}
    try:
        return httpx2.get(f"{url}/v1/jobs", params={"limit": 1}, headers=headers, timeout=5.0).is_success
    except httpx2.TransportError:
        return False


def wait_ready(url: str, since: datetime, say: Callable[[str], None], within_s: float = 300.0) -> None:
    """Returns when every part has said after `since` that it is ready: an earlier stack's word does not count.

    Raises StackError that names those that have not.
    """
    deadline = time.monotonic() + within_s
    seen: set[str] = set()
    while True:
        parts = _parts(url)
        for name, part in parts.items():
            fresh = part.at is not None and part.at >= since
            if part.status == "ok" and fresh and name not in seen:
                seen.add(name)
                say(f"{name} is ready")
        if parts and len(seen) == len(parts):
            return
        if time.monotonic() > deadline:
            late = [f"{name} ({part.detail or part.status})" for name, part in parts.items() if name not in seen]
            raise StackError(f"not ready after {within_s:g} s: {', '.join(late) or f'the API at {url}'}")
        time.sleep(0.5)


def _parts(url: str) -> dict[str, PartState]:
    try:
        return Readiness.model_validate_json(httpx2.get(f"{url}/readyz", timeout=5.0).content).parts
    except (httpx2.TransportError, ValidationError):
        return {}
