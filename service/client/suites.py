"""Suites: rows × tasks × seeds as one submission."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Literal

from service.client.connection import Connection
from service.client.paths import with_paths_of
from service.suites.schemas import SuiteExtension, SuitePlan, SuiteRequest, SuiteTable, SuiteView

PAGE = 100
_SUBMIT_S = 120.0  # thousands of jobs in one transaction


class AsyncSuites:
    """The suites that the key can see."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def submit(self, request: SuiteRequest, *, once: str | None = None) -> SuiteView:
        """Queues every run of the suite, all of them or none; sent so that it can be repeated.

        `once`: a key of your own, with which it is made once.

        Raises ProblemError with every fault.
        """
        headers = {"Idempotency-Key": once or str(uuid.uuid4())}
        answer = await self._connection.json(
            "POST", "/v1/suites", body=self._body(request), headers=headers, safe=True, timeout_s=_SUBMIT_S
        )
        return await self._suite(answer)

    async def check(self, request: SuiteRequest) -> SuitePlan:
        """Returns the jobs that it would make, their time, and what is done already; queues nothing."""
        query = {"validate_only": True}
        answer = await self._connection.json(
            "POST", "/v1/suites", body=self._body(request), query=query, safe=True, timeout_s=_SUBMIT_S
        )
        return SuitePlan.model_validate(answer)

    async def get(self, suite: str) -> SuiteView:
        """Returns the suite as it is now."""
        return await self._suite(await self._connection.json("GET", f"/v1/suites/{suite}"))

    async def list(
        self, limit: int | None = None, **filters: str | Sequence[str] | bool | None
    ) -> AsyncGenerator[SuiteView]:
        """Yields suites, newest first, page after page as they are asked for.

        Filters as in `GET /v1/suites`: project, owner, task, row, job, search, since, ended.
        """
        async for entry in self._connection.pages("/v1/suites", limit, PAGE, filters):
            yield await self._suite(entry)

    async def table(self, suite: str) -> SuiteTable:
        """Returns the suite's table as it is now."""
        return SuiteTable.model_validate(await self._connection.json("GET", f"/v1/suites/{suite}/table"))

    async def written(self, suite: str, form: Literal["csv", "md", "latex", "svg"]) -> str:
        """Returns the suite's table as CSV, Markdown, LaTeX or a picture."""
        async with self._connection.stream(f"/v1/suites/{suite}/table?format={form}") as response:
            return (await response.aread()).decode()

    async def cancel(self, suite: str) -> SuiteView:
        """Ends the jobs that the suite has submitted."""
        return await self._suite(await self._connection.json("POST", f"/v1/suites/{suite}/cancel", safe=True))

    async def retry(self, suite: str) -> SuiteView:
        """Runs again what failed, was cancelled or was deleted."""
        answer = await self._connection.json("POST", f"/v1/suites/{suite}/retry", safe=True, timeout_s=_SUBMIT_S)
        return await self._suite(answer)

    async def extend(self, suite: str, more: SuiteExtension) -> SuiteView:
        """Adds tasks, rows, backbones or seeds; what the suite has already is not run again."""
        body = self._body(more)
        answer = await self._connection.json(
            "POST", f"/v1/suites/{suite}/extend", body=body, safe=True, timeout_s=_SUBMIT_S
        )
        return await self._suite(answer)

    async def set_tracking(self, suite: str, url: str) -> None:
        """Says where people find the suite in the tracking's pages."""
        await self._connection.json("PUT", f"/v1/suites/{suite}/tracking", body={"url": url})

    def _body(self, request: SuiteRequest | SuiteExtension) -> dict[str, Any]:
        body = request.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        return with_paths_of(body, self._connection.address)

    async def _suite(self, answer: Any) -> SuiteView:
        found = SuiteView.model_validate(answer)
        return found.model_copy(update={"mlflow_url": await self._connection.link_from_here(found.mlflow_url)})
