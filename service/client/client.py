"""The client: asynchronous, and the same with ordinary calls."""

from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx2

from service.client._sync import Face, Loop, call, iterate
from service.client.access import AsyncAudit, AsyncKeys, AsyncProjects
from service.client.address import find_address
from service.client.clusters import AsyncClusters
from service.client.connection import Connection
from service.client.datasets import AsyncDatasets
from service.client.jobs import AsyncJobs
from service.client.models import Readiness
from service.client.sessions import AsyncSessions
from service.client.studies import AsyncStudies
from service.client.suites import AsyncSuites
from service.client.worker import AsyncWorker
from service.leaderboards.schemas import Leaderboard
from service.limits.schemas import LimitsView

Kind = Literal["methods", "regularizers", "sources", "backbones", "sections", "benchmarks", "recipes"]


class AsyncClient:
    """One service, by URL and API key; without them the environment's, or the stack's that runs here.

    Every call raises ProblemError where the service refuses it and NoService where none answers. The constructor
    raises NoService where no service is known.
    """

    def __init__(
        self, url: str | None = None, key: str | None = None, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.address = find_address(url, key)
        self._connection = Connection(self.address, transport)
        self.jobs = AsyncJobs(self._connection)
        self.suites = AsyncSuites(self._connection)
        self.datasets = AsyncDatasets(self._connection)
        self.studies = AsyncStudies(self._connection)
        self.worker = AsyncWorker(self._connection)
        self.keys = AsyncKeys(self._connection)
        self.sessions = AsyncSessions(self._connection)
        self.projects = AsyncProjects(self._connection)
        self.audit = AsyncAudit(self._connection)
        self.clusters = AsyncClusters(self._connection)

    async def catalogue(self, kind: Kind) -> list[dict[str, Any]]:
        """Lists everything of one kind that a spec can name; methods, regularizers, sources with their JSON Schema."""
        return (await self._connection.json("GET", f"/v1/catalogue/{kind}"))["data"]

    async def leaderboard(
        self, benchmark: str, *, phase: Literal["search", "final"] | None = None, project: str | None = None
    ) -> Leaderboard:
        """Returns rows × tasks of a benchmark, measured beside published; or one task of your own, by its name.

        Without a phase, of the one that the benchmark reports.
        """
        query = {"phase": phase, "project": project}
        path = f"/v1/leaderboards/{quote(benchmark)}"
        return Leaderboard.model_validate(await self._connection.json("GET", path, query=query))

    async def limits(self) -> LimitsView:
        """Returns what a request may hold, and what the key's project may have and has."""
        return LimitsView.model_validate(await self._connection.json("GET", "/v1/limits"))

    async def ready(self) -> Readiness:
        """Returns the state of each part of the stack."""
        return Readiness.model_validate(await self._connection.json("GET", "/readyz"))

    async def close(self) -> None:
        """Closes the connections."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Jobs(Face[AsyncJobs]):
    """AsyncJobs with ordinary calls."""

    submit = call(AsyncJobs.submit)
    check = call(AsyncJobs.check)
    get = call(AsyncJobs.get)
    list = iterate(AsyncJobs.list)
    page = call(AsyncJobs.page)
    totals = call(AsyncJobs.totals)
    attempts = call(AsyncJobs.attempts)
    wait = call(AsyncJobs.wait)
    change = call(AsyncJobs.change)
    cancel = call(AsyncJobs.cancel)
    pause = call(AsyncJobs.pause)
    resume = call(AsyncJobs.resume)
    retry = call(AsyncJobs.retry)
    delete = call(AsyncJobs.delete)
    batch = call(AsyncJobs.batch)
    events = iterate(AsyncJobs.events)
    logs = call(AsyncJobs.logs)
    metrics = call(AsyncJobs.metrics)
    artifacts = call(AsyncJobs.artifacts)
    download = call(AsyncJobs.download)


class Suites(Face[AsyncSuites]):
    """AsyncSuites with ordinary calls."""

    submit = call(AsyncSuites.submit)
    check = call(AsyncSuites.check)
    get = call(AsyncSuites.get)
    list = iterate(AsyncSuites.list)
    table = call(AsyncSuites.table)
    written = call(AsyncSuites.written)
    cancel = call(AsyncSuites.cancel)
    retry = call(AsyncSuites.retry)
    extend = call(AsyncSuites.extend)
    set_tracking = call(AsyncSuites.set_tracking)


class Datasets(Face[AsyncDatasets]):
    """AsyncDatasets with ordinary calls."""

    upload = call(AsyncDatasets.upload)
    get = call(AsyncDatasets.get)
    list = iterate(AsyncDatasets.list)
    delete = call(AsyncDatasets.delete)


class Studies(Face[AsyncStudies]):
    """AsyncStudies with ordinary calls."""

    list = iterate(AsyncStudies.list)
    page = call(AsyncStudies.page)
    submit = call(AsyncStudies.submit)
    check = call(AsyncStudies.check)
    report = call(AsyncStudies.report)
    untracked = call(AsyncStudies.untracked)
    set_tracking = call(AsyncStudies.set_tracking)
    get = call(AsyncStudies.get)
    trials = call(AsyncStudies.trials)
    pause = call(AsyncStudies.pause)
    resume = call(AsyncStudies.resume)
    cancel = call(AsyncStudies.cancel)
    retry = call(AsyncStudies.retry)
    extend = call(AsyncStudies.extend)
    lease = call(AsyncStudies.lease)
    renew = call(AsyncStudies.renew)
    rung = call(AsyncStudies.rung)
    stopped = call(AsyncStudies.stopped)
    found = call(AsyncStudies.found)
    end = call(AsyncStudies.end)


class Worker(Face[AsyncWorker]):
    """AsyncWorker with ordinary calls."""

    join = call(AsyncWorker.join)
    deleted_jobs = call(AsyncWorker.deleted_jobs)
    leave = call(AsyncWorker.leave)
    prove = call(AsyncWorker.prove)
    lease = call(AsyncWorker.lease)
    report = call(AsyncWorker.report)
    heartbeat = call(AsyncWorker.heartbeat)
    set_tracking = call(AsyncWorker.set_tracking)
    events = call(AsyncWorker.events)
    cursor = call(AsyncWorker.cursor)
    set_cursor = call(AsyncWorker.set_cursor)
    hold_cursor = call(AsyncWorker.hold_cursor)


class Keys(Face[AsyncKeys]):
    """AsyncKeys with ordinary calls."""

    create = call(AsyncKeys.create)
    list = call(AsyncKeys.list)
    revoke = call(AsyncKeys.revoke)
    revoke_owner = call(AsyncKeys.revoke_owner)
    rotate = call(AsyncKeys.rotate)


class Sessions(Face[AsyncSessions]):
    """AsyncSessions with ordinary calls."""

    begin = call(AsyncSessions.begin)
    link = call(AsyncSessions.link)
    exchange = call(AsyncSessions.exchange)
    end = call(AsyncSessions.end)
    own_key = call(AsyncSessions.own_key)


class Projects(Face[AsyncProjects]):
    """AsyncProjects with ordinary calls."""

    create = call(AsyncProjects.create)
    list = call(AsyncProjects.list)
    limit = call(AsyncProjects.limit)
    archive = call(AsyncProjects.archive)
    restore = call(AsyncProjects.restore)


class Audit(Face[AsyncAudit]):
    """AsyncAudit with ordinary calls."""

    list = call(AsyncAudit.list)
    page = call(AsyncAudit.page)


class Clusters(Face[AsyncClusters]):
    """AsyncClusters with ordinary calls."""

    list = call(AsyncClusters.list)
    load = call(AsyncClusters.load)
    drain = call(AsyncClusters.drain)
    undrain = call(AsyncClusters.undrain)
    forget = call(AsyncClusters.forget)


class Client(Face[AsyncClient]):
    """AsyncClient with ordinary calls."""

    def __init__(
        self, url: str | None = None, key: str | None = None, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        super().__init__(AsyncClient(url, key, transport=transport), Loop())
        self.address = self.behind.address
        self.jobs = Jobs(self.behind.jobs, self.loop)
        self.suites = Suites(self.behind.suites, self.loop)
        self.datasets = Datasets(self.behind.datasets, self.loop)
        self.studies = Studies(self.behind.studies, self.loop)
        self.worker = Worker(self.behind.worker, self.loop)
        self.keys = Keys(self.behind.keys, self.loop)
        self.sessions = Sessions(self.behind.sessions, self.loop)
        self.projects = Projects(self.behind.projects, self.loop)
        self.audit = Audit(self.behind.audit, self.loop)
        self.clusters = Clusters(self.behind.clusters, self.loop)

    catalogue = call(AsyncClient.catalogue)
    leaderboard = call(AsyncClient.leaderboard)
    limits = call(AsyncClient.limits)
    ready = call(AsyncClient.ready)

    def close(self) -> None:
        """Closes the connections and ends the client's thread."""
        self.loop.run(self.behind.close())
        self.loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
