"""Studies: searches over a job's fields. And what a study's driver says to the service, with a worker's key."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from service.client.connection import Connection
from service.client.paths import with_paths_of
from service.studies.driver_schemas import (
    DriverDirective,
    DriverEnd,
    DriverRequest,
    RungAnswer,
    RungRequest,
    Shown,
    StudyLease,
    TrialStopped,
)
from service.studies.report_schemas import StudyReport
from service.studies.schemas import StudyExtension, StudyPage, StudyPlan, StudyRequest, StudyView, TrialView

PAGE = 50
_SLOW_S = 60.0


class AsyncStudies:
    """The studies that the key can see."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def submit(self, request: StudyRequest, *, once: str | None = None) -> StudyView:
        """Submits a study; sent so that it can be repeated. Raises ProblemError with every fault.

        `once`: a key of your own, with which it is made once.
        """
        headers = {"Idempotency-Key": once or str(uuid.uuid4())}
        return await self._study(await self._post("/v1/studies", self._body(request), headers=headers))

    async def check(self, request: StudyRequest) -> StudyPlan:
        """Returns how much it would run and the time that takes; stores nothing."""
        answer = await self._connection.json(
            "POST", "/v1/studies", body=self._body(request), query={"validate_only": True}, safe=True, timeout_s=_SLOW_S
        )
        return StudyPlan.model_validate(answer)

    async def get(self, study: str) -> StudyView:
        """Returns the study as it is now."""
        return await self._study(await self._connection.json("GET", f"/v1/studies/{study}"))

    async def list(
        self, limit: int | None = None, **filters: str | Sequence[str] | bool | None
    ) -> AsyncGenerator[StudyView]:
        """Yields studies, newest first, page after page as they are asked for.

        Filters as in `GET /v1/studies`: project, owner, task, row, search, since, ended.
        """
        async for entry in self._connection.pages("/v1/studies", limit, PAGE, filters):
            yield await self._study(entry)

    async def page(self, **filters: str | int | bool | None) -> StudyPage:
        """Returns one page of studies, newest first; the next one is `after` its `next_cursor`."""
        found = StudyPage.model_validate(await self._connection.json("GET", "/v1/studies", query=filters))
        return found.model_copy(update={"data": [await self._linked(study) for study in found.data]})

    async def trials(self, study: str) -> "list[TrialView]":
        """Returns every trial, in the order in which they began."""
        answer = await self._connection.json("GET", f"/v1/studies/{study}/trials")
        return [TrialView.model_validate(trial) for trial in answer["data"]]

    async def report(self, study: str) -> StudyReport:
        """Returns what the study found out."""
        return StudyReport.model_validate(await self._connection.json("GET", f"/v1/studies/{study}/report"))

    async def untracked(self) -> "list[StudyView]":
        """Returns studies that have ended and that the tracking does not show yet."""
        answer = await self._connection.json("GET", "/v1/studies", query={"untracked": True, "limit": PAGE})
        return [await self._study(study) for study in answer["data"]]

    async def set_tracking(self, study: str, url: str) -> None:
        """Says where people find the study in the tracking's pages."""
        await self._connection.json("PUT", f"/v1/studies/{study}/tracking", body={"url": url})

    async def pause(self, study: str) -> StudyView:
        """Begins no more trials; what runs goes on to its end."""
        return await self._study(await self._post(f"/v1/studies/{study}/pause"))

    async def resume(self, study: str) -> StudyView:
        """Lets the study go on."""
        return await self._study(await self._post(f"/v1/studies/{study}/resume"))

    async def cancel(self, study: str) -> StudyView:
        """Ends its trials and final runs."""
        return await self._study(await self._post(f"/v1/studies/{study}/cancel"))

    async def retry(self, study: str) -> StudyView:
        """Runs its failed trials again."""
        return await self._study(await self._post(f"/v1/studies/{study}/retry"))

    async def extend(self, study: str, more: StudyExtension) -> StudyView:
        """Searches more; no trial is run again."""
        body = more.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        # sent twice it would add twice
        answer = await self._connection.json("POST", f"/v1/studies/{study}/extend", body=body, timeout_s=_SLOW_S)
        return await self._study(answer)

    async def lease(self, holding: "list[str]") -> StudyLease | None:
        """Asks for a study to drive."""
        body = DriverRequest(holding=holding).model_dump(mode="json")
        answer = await self._connection.json("POST", "/v1/studies/drivers", body=body, safe=False, timeout_s=_SLOW_S)
        return StudyLease.model_validate(answer["lease"]) if answer["lease"] else None

    async def renew(self, study: str, token: str) -> bool:
        """Renews a driver's lease, and returns whether it may go on. Raises LeaseFenced where another has the study."""
        answer = await self._post(f"/v1/studies/{study}/driver", Shown(token=token).model_dump(mode="json"))
        return DriverDirective.model_validate(answer).directive == "continue"

    async def rung(self, study: str, asked: RungRequest) -> RungAnswer:
        """Asks for a trial's rung, whose job is made where there is none, and waits for its end."""
        body = asked.model_dump(mode="json")
        answer = await self._post(f"/v1/studies/{study}/rungs", body, timeout_s=asked.wait_s + _SLOW_S)
        return RungAnswer.model_validate(answer)

    async def stopped(self, study: str, token: str, trial: int, rung: int) -> None:
        """Says that the scheduler stopped a trial after that rung."""
        body = TrialStopped(token=token, trial=trial, rung=rung).model_dump(mode="json")
        await self._post(f"/v1/studies/{study}/stopped", body)

    async def found(self, study: str, token: str) -> StudyReport:
        """Returns what the study of a driver has found out."""
        answer = await self._post(f"/v1/studies/{study}/found", Shown(token=token).model_dump(mode="json"))
        return StudyReport.model_validate(answer)

    async def end(
        self, study: str, token: str, importance: dict[str, float] | None = None, failed: str | None = None
    ) -> None:
        """Says that the search is over, and what matters in it; or why it cannot go on."""
        body = DriverEnd(token=token, failed=failed, importance=importance or {}).model_dump(mode="json")
        await self._post(f"/v1/studies/{study}/end", body)

    async def _post(self, path: str, body: Any = None, *, timeout_s: float = _SLOW_S, **more: Any) -> Any:
        return await self._connection.json("POST", path, body=body, safe=True, timeout_s=timeout_s, **more)

    def _body(self, request: StudyRequest) -> dict[str, Any]:
        body = request.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        return with_paths_of(body, self._connection.address)

    async def _study(self, answer: Any) -> StudyView:
        return await self._linked(StudyView.model_validate(answer))

    async def _linked(self, found: StudyView) -> StudyView:
        return found.model_copy(update={"mlflow_url": await self._connection.link_from_here(found.mlflow_url)})
