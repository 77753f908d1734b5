"""The order in which a study's points are tried."""

from collections import defaultdict
from statistics import fmean
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.studies.queries import request_of, trials
from service.studies.schemas import StudyRequest
from service.studies.space import grid, key_of, trials_of
from service.studies.tables import Study, Trial

_STUDIES = 200
"""So many newest ones are learnt from."""


async def of(
    session: AsyncSession, study: Study, request: StudyRequest
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns what to suggest first, and of a grid every point: those that were begun come first, in their order, then
    where it is asked for those that did best on other tasks."""
    begun = select(Trial.config).where(Trial.study == study.id, Trial.refused.is_(None)).order_by(Trial.number)
    known = list((await session.execute(begun)).scalars())
    ranks = await _mean_ranks(session, study, request) if request.learn else {}
    if request.search == "grid":
        place = {key_of(point): index for index, point in enumerate(known)}
        points = sorted(
            grid(request.space),
            key=lambda point: (place.get(key_of(point), len(place)), ranks.get(key_of(point), (0.5, {}))[0]),
        )
        return known, points
    there = {key_of(point) for point in known}
    best = sorted((rank, key) for key, (rank, point) in ranks.items() if key not in there and _within(point, request))
    most = max(0, trials_of(request) // 3 - len(known))
    return known + [ranks[key][1] for _, key in best[:most]], []


async def _mean_ranks(
    session: AsyncSession, study: Study, request: StudyRequest
) -> dict[str, tuple[float, dict[str, Any]]]:
    """Point → its mean rank, 0 the best and 1 the worst, in the newest study of each other task; and itself."""
    others = await session.execute(
        select(Study)
        .where(
            Study.project == study.project,
            Study.row == study.row,
            Study.task != study.task,
            Study.searched_at.is_not(None),
        )
        .order_by(Study.id.desc())
        .limit(_STUDIES)
    )
    ranks: defaultdict[str, list[float]] = defaultdict(list)
    points: dict[str, dict[str, Any]] = {}
    seen: set[tuple[str | None, str]] = set()
    for other in others.scalars():
        theirs = request_of(other)
        if (other.benchmark, other.task) in seen or theirs.space.keys() != request.space.keys():
            continue
        seen.add((other.benchmark, other.task))
        sign = 1 if theirs.mode == "max" else -1
        measured = [trial for trial in await trials(session, other) if trial.value is not None]
        measured.sort(key=lambda trial: (trial.epochs, sign * (trial.value or 0.0)), reverse=True)
        for place, trial in enumerate(measured):
            ranks[key_of(trial.config)].append(place / max(len(measured) - 1, 1))
            points[key_of(trial.config)] = trial.config
    return {key: (fmean(found), points[key]) for key, found in ranks.items()}


def _within(point: dict[str, Any], request: StudyRequest) -> bool:
    return all(request.space[path].holds(value) for path, value in point.items())
