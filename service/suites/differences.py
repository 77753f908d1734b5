"""Differences of a suite's rows: to the same method without a regularizer, and to the published row."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pace_core.spec import RunSpec
from service.leaderboards.schemas import RowView
from service.student import mean_of
from service.suites.plan import Plan
from service.suites.schemas import DifferenceView

Repeat = tuple[int, int]
"""Seed and draw."""
Values = Mapping[str, Mapping[str, Mapping[Repeat, float]]]
"""Row → task → seed and draw → measured fraction."""


def differences(plan: Plan, values: Values, published: Mapping[str, RowView]) -> list[DifferenceView]:
    """Returns every difference, row by row, each for single tasks first and then for all tasks."""
    printed = {label.casefold(): row for label, row in published.items()}
    found: list[DifferenceView] = []
    for row in plan.rows:
        without = _without(plan, row)
        if without is not None and row in values and without in values:
            found += _to_row(plan, values, row, without)
        beside = printed.get(row.casefold())
        if beside is not None and row in values:
            found += _to_published(values[row], row, beside)
    return found


def _without(plan: Plan, row: str) -> str | None:
    """The row with the same backbone and method and no regularizer, of the same settings where there is one."""
    specs: dict[str, dict[str, RunSpec]] = {}
    for run in plan.runs:
        if run.spec is not None:
            specs.setdefault(run.row, {})[run.task] = run.spec
    ours = next(iter(specs.get(row, {}).values()), None)
    if ours is None or ours.regularizer.name == "none":
        return None
    plain = {
        other: tasks[ours_task]
        for other, tasks in specs.items()
        for ours_task in list(specs[row])[:1]
        if ours_task in tasks and tasks[ours_task].regularizer.name == "none"
    }
    same = [other for other, spec in plain.items() if (spec.backbone, spec.method) == (ours.backbone, ours.method)]
    alike = [
        other for other, spec in plain.items() if (spec.backbone, spec.method.name) == (ours.backbone, ours.method.name)
    ]
    return next(iter(same + alike), None)


def _to_row(plan: Plan, values: Values, row: str, without: str) -> Iterator[DifferenceView]:
    ours, theirs = values[row], values[without]
    tasks = [task.name for task in plan.benchmark.tasks if task.name in ours and task.name in theirs]
    per_task: list[float] = []
    for task in tasks:
        common = sorted(ours[task].keys() & theirs[task].keys())
        if common:
            each = [ours[task][repeat] - theirs[task][repeat] for repeat in common]
            per_task.append(statistics.fmean(each))
            yield _difference(row, without, "without", task, "seeds", each)
    if len(per_task) < 2:
        return
    yield _difference(row, without, "without", None, "tasks", per_task)
    whole = set[Repeat].intersection(*(set(ours[task]) & set(theirs[task]) for task in tasks))
    if len(whole) > 1:
        each = [statistics.fmean(ours[task][one] - theirs[task][one] for task in tasks) for one in sorted(whole)]
        yield _difference(row, without, "without", None, "seeds", each)


def _to_published(ours: Mapping[str, Mapping[Repeat, float]], row: str, beside: RowView) -> Iterator[DifferenceView]:
    per_task: list[float] = []
    for task, cell in beside.cells.items():
        if task in ours and cell.mean is not None:
            each = [value - cell.mean for value in ours[task].values()]
            per_task.append(statistics.fmean(each))
            yield _difference(row, beside.label, "published", task, "seeds", each)
    if len(per_task) > 1:
        yield _difference(row, beside.label, "published", None, "tasks", per_task)


def _difference(
    row: str,
    versus: str,
    kind: Literal["without", "published"],
    task: str | None,
    over: Literal["seeds", "tasks"],
    each: Sequence[float],
) -> DifferenceView:
    mean = mean_of(each)
    return DifferenceView(
        row=row,
        versus=versus,
        kind=kind,
        task=task,
        over=over,
        pairs=len(each),
        mean=mean.value,
        low=mean.low,
        high=mean.high,
        p=mean.p,
    )
