"""Tables of results."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import load_benchmarks
from service.db import Database
from service.keys.auth import Reader
from service.leaderboards.kept import Kept, state_of
from service.leaderboards.results import cells_of, own_task
from service.leaderboards.schemas import Leaderboard
from service.leaderboards.table import leaderboard
from service.problems import NotFound

router = APIRouter(prefix="/v1/leaderboards", tags=["leaderboards"])


@router.get(
    "/{benchmark:path}",
    summary="A benchmark's table, or that of a task of your own: rows × tasks",
    response_model=Leaderboard,
)
async def get_leaderboard(
    request: Request,
    caller: Reader,
    benchmark: str,
    project: str | None = None,
    phase: Literal["search", "final"] | None = None,
) -> Response:
    """Returns mean and deviation over seeds, group means and their mean, with published rows beside measured ones.

    Only runs of equal cells (settings, data, weights) are averaged; whatever else there is to say stands in the notes.
    A task of your own, by its name, is a table of one column. Without a phase it is the one that the benchmark reports:
    final, and search where the labels of the test split are not public.
    """
    whose = (None if caller.bounded else project) or caller.project
    if project is not None and whose != project:
        raise NotFound(f"there is no project {project!r} that this key sees")
    database: Database = request.app.state.database
    kept: Kept = request.app.state.leaderboards
    async with database.lone() as session:
        known = load_benchmarks().get(benchmark)
        shown = phase or (known.phase if known else "final")
        found = known or await own_task(session, benchmark, shown, whose)
        version = await state_of(session)
    if found is None:
        message = f"there is no benchmark {benchmark!r} and no task of that name with jobs"
        raise NotFound(f"{message}; benchmarks: {', '.join(load_benchmarks())}")

    async def make(session: AsyncSession) -> bytes:
        cells = await cells_of(session, found, shown, whose)
        catalogue = request.app.state.catalogue()
        # in a thread: whoever else asks meanwhile is answered
        return await asyncio.to_thread(
            lambda: leaderboard(found, shown, whose, cells, catalogue).model_dump_json().encode()
        )

    table = await kept.table((found.name, shown, whose), version, make)
    return Response(table, media_type="application/json")
