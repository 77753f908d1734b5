"""Tables of results."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request, Response

from pace_core.spec import load_benchmarks
from service.db import Transaction
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
    session: Transaction,
    caller: Reader,
    benchmark: str,
    project: str | None = None,
    phase: Literal["search", "final"] = "final",
) -> Response:
    """Returns mean and deviation over seeds, group means and their mean, with published rows beside measured ones.

    Only runs of equal cells (settings, data, weights) are averaged; whatever else there is to say stands in the notes.
    A task of your own, by its name, is a table of one column.
    """
    whose = (None if caller.bounded else project) or caller.project
    if project is not None and whose != project:
        raise NotFound(f"there is no project {project!r} that this key sees")
    found = load_benchmarks().get(benchmark) or await own_task(session, benchmark, phase, whose)
    if found is None:
        message = f"there is no benchmark {benchmark!r} and no task of that name with jobs"
        raise NotFound(f"{message}; benchmarks: {', '.join(load_benchmarks())}")
    kept: Kept = request.app.state.leaderboards
    state = await state_of(session)
    key = (found.name, phase, whose)
    body = kept.get(key, state)
    if body is None:
        cells = await cells_of(session, found, phase, whose)
        catalogue = request.app.state.catalogue()
        # in a thread: whoever else asks meanwhile is answered
        body = await asyncio.to_thread(
            lambda: leaderboard(found, phase, whose, cells, catalogue).model_dump_json().encode()
        )
        kept.put(key, state, body)
    return Response(body, media_type="application/json")
