"""One HTTP connection to the service: the key, retries that are safe, problem documents as exceptions."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import stamina

from service.client.address import Address, NoService, is_loopback, reached
from service.client.problems import problem_of

_BUSY = frozenset({429, 502, 503, 504})
PATIENCE_S = 20.0
"""How long a request that is safe to repeat is tried again after it first failed: longer than a restart of the API."""


class Connection:
    """A connection to one service."""

    def __init__(self, address: Address, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self.address = address
        self._answered = False
        self._mlflow_shared: bool | None = None
        self._http = httpx2.AsyncClient(
            base_url=address.url,
            headers={"Authorization": f"Bearer {address.key}"},
            timeout=httpx2.Timeout(30.0, connect=5.0),
            transport=transport,
            trust_env=not is_loopback(address.url),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def json(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content: bytes | None = None,
        query: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        safe: bool | None = None,
        timeout_s: float = 30.0,
    ) -> Any:
        """Returns the answer's JSON, None where it has no body. What is sent is `body` as JSON, or `content` as it is.

        `safe` says that repeating the request does no harm (GET, PUT and DELETE by themselves); such a request is
        tried again for PATIENCE_S while the service is away or busy. Raises ProblemError, NoService.
        """
        safe = method in ("GET", "PUT", "DELETE") if safe is None else safe
        timeout = httpx2.Timeout(timeout_s, connect=5.0)
        failing_since: float | None = None

        def again(error: Exception) -> bool:
            # patience begins here and not with the request, which may be a long poll that was held for longer
            nonlocal failing_since
            failing_since = failing_since or time.monotonic()
            return time.monotonic() - failing_since < PATIENCE_S and self._worth_retrying(error, safe)

        try:
            async for attempt in stamina.retry_context(on=again, attempts=None, timeout=None, wait_max=2.0):
                with attempt:
                    response = await self._http.request(
                        method,
                        path,
                        json=body,
                        content=content,
                        params=_given(query),
                        headers=headers,
                        timeout=timeout,
                    )
                    self._answered = True
                    if response.is_error:
                        raise problem_of(response)
                    return response.json() if response.content else None
        except httpx2.TransportError as error:
            raise self.no_service(error) from error

    async def pages(
        self, path: str, limit: int | None, page: int, query: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[dict[str, Any]]:
        """Yields the entries of a list, at most `limit`, `page` at a time as they are asked for."""
        after: str | None = None
        left = limit
        while left is None or left > 0:
            asked = {**(query or {}), "after": after, "limit": page if left is None else min(left, page)}
            found = await self.json("GET", path, query=asked)
            for entry in found["data"]:
                yield entry
            left = None if left is None else left - len(found["data"])
            after = found["next_cursor"]
            if not found["has_more"]:
                return

    @asynccontextmanager
    async def stream(
        self, path: str, headers: dict[str, str] | None = None, *, timeout_s: float = 60.0
    ) -> AsyncGenerator[httpx2.Response]:
        """Reads an answer piece by piece; not retried. Raises ProblemError, httpx2.TransportError."""
        timeout = httpx2.Timeout(timeout_s, connect=5.0)
        async with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            self._answered = True
            if response.is_error:
                await response.aread()
                raise problem_of(response)
            yield response

    async def link_from_here(self, link: str | None) -> str | None:
        """Returns a link to MLflow as it works from here.

        One into the service's own machine gets the host by which the service is reached, where MLflow listens there
        too; else it is left as it is, since it opens on that machine alone, or through a tunnel.
        """
        if link is None or not is_loopback(link) or is_loopback(self.address.url):
            return link
        if self._mlflow_shared is None:
            self._mlflow_shared = bool((await self.json("GET", "/readyz")).get("mlflow_shared"))
        return reached(link, self.address.url) if self._mlflow_shared else link

    def _worth_retrying(self, error: Exception, safe: bool) -> bool:
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            # nothing was sent, so it is safe; but nobody may be there at all
            return self._answered or self.address.expected
        if isinstance(error, httpx2.TransportError):
            return safe
        return safe and getattr(error, "status", None) in _BUSY

    def no_service(self, error: httpx2.TransportError) -> NoService:
        """Returns the message for a person whom nobody answered."""
        if isinstance(error, httpx2.ConnectError):
            return NoService(f"no service answers at {self.address.url}; start one with `pace up`, or set PACE_URL")
        return NoService(f"{self.address.url} does not answer: {type(error).__name__} {error}".rstrip())


def _given(query: dict[str, Any] | None) -> dict[str, Any] | None:
    return {key: value for key, value in query.items() if value is not None} if query else None
