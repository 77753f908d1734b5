"""Tables of results."""

from typing import Literal

from fastapi import APIRouter, Request

from pace_core.spec import load_benchmarks
from service.db import Transaction
from service.keys.auth import Reader
from service.leaderboards.results import own_task, runs_of
from service.leaderboards.schemas import Leaderboard
from service.leaderboards.table import leaderboard
from service.problems import NotFound

router = APIRouter(prefix="/v1/leaderboards", tags=["leaderboards"])


@router.get("/{benchmark:path}", summary="A benchmark's table, or that of a task of your own: rows × tasks")
async def get_leaderboard(
    request: Request,
    session: Transaction,
    caller: Reader,
    benchmark: str,
    project: str | None = None,
    phase: Literal["search", "final"] = "final",
) -> Leaderboard:
    """Mean and deviation over seeds, group means and the mean of group means, published rows beside measured ones.

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
    runs = await runs_of(session, found, phase, whose)
    return leaderboard(found, phase, whose, runs, request.app.state.catalogue())
