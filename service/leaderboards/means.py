"""Means over tasks, and the best of every column."""

import statistics
from collections.abc import Iterable, Sequence

from pace_core.spec import Benchmark
from service.leaderboards.schemas import MeanView, RowView


def add_means(row: RowView, benchmark: Benchmark) -> None:
    """Fills in the row's group means and its mean, over the tasks it has a number for."""
    for group in benchmark.groups:
        names = [task.name for task in benchmark.averaged if task.group == group.name]
        values = _values(row, names)
        if values:
            row.groups[group.name] = _mean(values, len(values), len(names))
    averaged = [task.name for task in benchmark.averaged]
    covered = len(_values(row, averaged))
    if not covered:
        return
    grouped = benchmark.mean == "mean_of_group_means"
    values = [mean.value for mean in row.groups.values()] if grouped else _values(row, averaged)
    row.mean = _mean(values, covered, len(averaged))


def mark_best(rows: Sequence[RowView]) -> None:
    """Marks the highest of every column.

    A mean counts only among the rows that cover the same tasks as the row that covers most: others are means of
    something else.
    """
    for task in {task for row in rows for task in row.cells}:
        cells = [cell for row in rows if (cell := row.cells.get(task)) and cell.mean is not None]
        for cell in cells:
            cell.best = cell.mean == max(other.mean for other in cells if other.mean is not None)
    for group in {group for row in rows for group in row.groups}:
        _mark([row.groups[group] for row in rows if group in row.groups])
    _mark([row.mean for row in rows if row.mean])


def _mark(means: Iterable[MeanView]) -> None:
    means = list(means)
    most = max((mean.tasks for mean in means), default=0)
    among = [mean for mean in means if mean.tasks == most]
    for mean in among:
        mean.best = mean.value == max(other.value for other in among)


def _values(row: RowView, tasks: Sequence[str]) -> list[float]:
    return [cell.mean for task in tasks if (cell := row.cells.get(task)) and cell.mean is not None]


def _mean(values: Sequence[float], covered: int, whole: int) -> MeanView:
    return MeanView(value=statistics.fmean(values), tasks=covered, complete=covered == whole, best=False)
