"""The API as an ASGI app."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from pace_core.spec import Catalogue, load_catalogue
from service import openapi, postgres, problems, requests
from service.audit import endpoints as audit
from service.background import keep_going
from service.catalogue import endpoints as catalogue_endpoints
from service.clusters import endpoints as clusters
from service.datasets import endpoints as datasets
from service.db import Database
from service.events import endpoints as events
from service.events.sequencer import number_for_ever
from service.health import endpoints as health
from service.health import metrics
from service.jobs import actions, artifacts, history
from service.jobs import endpoints as jobs
from service.jobs.intake import Intake
from service.keys import endpoints as keys
from service.leaderboards import endpoints as leaderboards
from service.leaderboards.kept import Kept
from service.leases import endpoints as leases
from service.leases.reaper import reap_for_ever
from service.limits import endpoints as limits
from service.limits.body import BodyLimit
from service.migrate import migrate
from service.projects import endpoints as projects
from service.retention import forget_for_ever
from service.sessions import endpoints as sessions
from service.settings import Settings
from service.storage.root import Health, opened, probe_for_ever
from service.storage.upkeep import look_after_for_ever
from service.studies import endpoints as studies
from service.suites import endpoints as suites
from service.wake import Wakes

_ROUTERS = (
    *(jobs, actions, history, artifacts, events, leases, leaderboards, catalogue_endpoints),
    *(suites, studies, datasets, keys, sessions, projects, audit, limits, clusters, health, metrics),
)


def create_app(settings: Settings | None = None, catalogue: Callable[[], Catalogue] = load_catalogue) -> FastAPI:
    """Creates the app; its lifespan starts the embedded Postgres if no database is named, migrates, ends lost attempts.

    `catalogue` gives what can be named in specs; it is asked at the first need.
    """
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        opened(settings.storage_root)  # tells at once where its client is missing
        app.state.storage = Health()
        url = settings.database_url or await asyncio.to_thread(postgres.start, settings.state_dir / "postgres")
        await migrate(url)
        wakes = app.state.wakes = Wakes(url)
        database = app.state.database = Database(url, settings.pool_size, wakes.tell)
        app.state.leaderboards = Kept(database)
        wakes.hear = database.recent.forget
        app.state.intake = Intake(database)
        root, storage = settings.storage_root, app.state.storage
        work: dict[str, Callable[[], Awaitable[None]]] = {
            "hear of other processes": wakes.listen,
            "tell other processes": wakes.send,
            "number events": lambda: number_for_ever(url, wakes),
            "end lost attempts": lambda: reap_for_ever(
                database, settings.reap_every_s, settings.reap_grace_s, settings.retry_after_s
            ),
            "forget what is old": lambda: forget_for_ever(database, settings),
            "look at the storage": lambda: probe_for_ever(root, settings.min_free_bytes, storage),
            "look after the storage": lambda: look_after_for_ever(
                database, root, settings.storage_measured_every_s, settings.keep_checkpoints_s
            ),
        }
        tasks = [asyncio.create_task(keep_going(name, one)) for name, one in work.items()]
        yield
        app.state.wakes.close()
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await database.close()

    app = FastAPIOffline(
        title="PACE fine-tuning service",
        summary="Takes fine-tuning jobs, has workers run them, keeps their results.",
        version="1",
        lifespan=lifespan,
        responses=problems.RESPONSES,
        generate_unique_id_function=openapi.name_of,
    )
    app.state.settings = settings
    app.state.catalogue = catalogue
    openapi.install(app)
    problems.install(app, openapi.allowed(app))
    app.add_middleware(BodyLimit, settings=settings)
    requests.install(app)
    app.include_router(actions.many)
    for module in _ROUTERS:
        app.include_router(module.router)
    return app
