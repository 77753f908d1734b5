"""The calls of workers: leases, reports, heartbeats, links into the tracking, all jobs' events, cursors."""

from pace_core.spec.leases import Heartbeat, Join, Joined, LeaseRequest, LeaseResponse, Report, ReportResponse
from service.client.connection import Connection
from service.client.problems import ProblemError
from service.events.schemas import PlacedEvent


class AsyncWorker:
    """The calls of dispatcher and tracking to the service; leases and reports take a worker's key."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lease(self, request: LeaseRequest) -> LeaseResponse:
        """Asks for work for the free slots; held open for `wait_s` while there is none. Not repeated by itself."""
        body = request.model_dump(mode="json")
        answer = await self._connection.json(
            "POST", "/v1/leases", body=body, safe=False, timeout_s=request.wait_s + 15.0
        )
        return LeaseResponse.model_validate(answer)

    async def join(self, asked: Join) -> Joined:
        """Serves the key's cluster as its one dispatcher. Raises ClusterTaken while another one does."""
        answer = await self._connection.json("POST", "/v1/clusters/join", body=asked.model_dump(mode="json"), safe=True)
        return Joined.model_validate(answer)

    async def leave(self, dispatcher: str) -> None:
        """Lets another dispatcher take the place of this one at once."""
        await self._connection.json("POST", "/v1/clusters/leave", body={"dispatcher": dispatcher})

    async def prove(self, node: str) -> None:
        """Says that the node has made its copy of the proof. Raises ProblemError where the service does not find it."""
        await self._connection.json("POST", "/v1/clusters/proofs", body={"node": node}, safe=True)

    async def report(self, job: str, attempt: int, report: Report) -> ReportResponse:
        """Hands in an attempt's new events. Raises LeaseFenced where the attempt is no longer the current one."""
        # numbered events are stored once however often they are sent
        answer = await self._connection.json(
            "POST", f"/v1/leases/{job}/{attempt}/reports", body=report.model_dump(mode="json"), safe=True
        )
        return ReportResponse.model_validate(answer)

    async def heartbeat(self, heartbeat: Heartbeat) -> None:
        """Says how a part of the stack is."""
        await self._connection.json("POST", "/v1/heartbeats", body=heartbeat.model_dump(mode="json"), safe=True)

    async def set_tracking(self, job: str, url: str) -> None:
        """Says where people find the job in the tracking's pages."""
        await self._connection.json("PUT", f"/v1/jobs/{job}/tracking", body={"url": url})

    async def events(self, after: int, limit: int = 1000, wait_s: float = 0.0) -> list[PlacedEvent]:
        """Returns events of all jobs whose position is above `after`, oldest first; waits for one so long."""
        query = {"after": after, "limit": limit, "wait": wait_s}
        answer = await self._connection.json("GET", "/v1/events", query=query, timeout_s=wait_s + 30.0)
        return [PlacedEvent.model_validate(event) for event in answer["data"]]

    async def deleted_jobs(self) -> list[str]:
        """Returns the ids of the jobs that were deleted within the last week."""
        found: list[str] = []
        while True:
            query = {"after": found[-1] if found else ""}
            answer = await self._connection.json("GET", "/v1/deletions", query=query)
            found += answer["data"]
            if not answer["has_more"]:
                return found

    async def cursor(self, name: str) -> int:
        """Returns the position of the reader `name`; 0 for a new one."""
        answer = await self._connection.json("GET", f"/v1/cursors/{name}")
        return int(answer["position"])

    async def hold_cursor(self, name: str, holder: str, for_s: float) -> bool:
        """Takes the cursor for this process alone, or lets it go after 0 seconds; whether it is held now."""
        body = {"holder": holder, "for_s": for_s}
        try:
            await self._connection.json("PUT", f"/v1/cursors/{name}/holder", body=body)
        except ProblemError as problem:
            if problem.code != "cursor-held":
                raise
            return False
        return True

    async def set_cursor(self, name: str, position: int, holder: str | None = None) -> None:
        """Keeps how far the reader `name` has come; a lower number makes it read again.

        Raises ProblemError while another process than that `holder` holds the cursor, unless for 0.
        """
        body = {"position": position, "holder": holder}
        await self._connection.json("PUT", f"/v1/cursors/{name}", body=body)
