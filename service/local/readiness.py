"""Readiness of the parts of the stack."""

import time
from collections.abc import Callable
from datetime import datetime
from http.client import HTTPException
from urllib.request import ProxyHandler, Request, build_opener

import httpx2
from pydantic import ValidationError

from service.client.address import is_loopback
from service.client.models import PartState, Readiness

# asked ten times a second while others start: loads no certificates, and asks no proxy for this machine itself
_DIRECT = build_opener(ProxyHandler({}))


class StackError(RuntimeError):
    """The stack cannot be started, stopped or waited for; the message says why and what to do."""


def healthy(url: str, key: str) -> bool:
    """Tells whether the API answers there, and is the one that knows the key: another stack may have taken the port."""
    asked = Request(f"{url}/v1/jobs?limit=1", headers={"Authorization": f"Bearer {key}"})
    try:
        with _DIRECT.open(asked, timeout=5.0) as answer:
            return answer.status == 200
    except (OSError, HTTPException):
        return False


def wait_ready(url: str, key: str, since: datetime, say: Callable[[str], None], within_s: float = 300.0) -> None:
    """Returns when every part has said after `since` that it is ready: an earlier stack's word does not count.

    Raises StackError that names those that have not.
    """
    deadline = time.monotonic() + within_s
    seen: set[str] = set()
    headers = {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=url, headers=headers, timeout=5.0, trust_env=not is_loopback(url)) as http:
        while not _all_ready(http, since, seen, say):
            if time.monotonic() > deadline:
                late = [
                    f"{name} ({part.detail or part.status})" for name, part in _parts(http).items() if name not in seen
                ]
                raise StackError(f"not ready after {within_s:g} s: {', '.join(late) or f'the API at {url}'}")
            time.sleep(0.5)


def _all_ready(http: httpx2.Client, since: datetime, seen: set[str], say: Callable[[str], None]) -> bool:
    parts = _parts(http)
    for name, part in parts.items():
        if part.status == "ok" and part.at is not None and part.at >= since and name not in seen:
            seen.add(name)
            say(f"{name} is ready")
    return bool(parts) and parts.keys() <= seen


def _parts(http: httpx2.Client) -> dict[str, PartState]:
    try:
        return Readiness.model_validate_json(http.get("/readyz").content).parts
    except (httpx2.TransportError, ValidationError):
        return {}
