"""Tables of results: the paper's rows and ours in one grid."""

import csv
import io
from collections.abc import Iterator
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from dashboards.api import client_of
from dashboards.navigation import Nav
from dashboards.rendering import render
from service.client import BoardRow, Leaderboard

nav = Nav("Leaderboards", "/leaderboards", 30)

_MEAN = "mean"
_GROUP = "group:"


async def boards(request: Request) -> Response:
    """Lists the benchmarks; a task of one's own is asked for by its name."""
    if task := request.query_params.get("task", "").strip():
        return RedirectResponse(f"/leaderboards/{quote(task)}", 303)
    return render(request, "leaderboards.html", benchmarks=await client_of(request).catalogue("benchmarks"))


async def board(request: Request) -> Response:
    """Shows a benchmark's table, or that of a task of one's own, in the order of a column; or hands it on as a file."""
    asked = request.query_params
    phase = "search" if asked.get("phase") == "search" else "final"
    table = await client_of(request).leaderboard(request.path_params["name"], phase=phase)
    match asked.get("download"):
        case "csv":
            return _file(_csv(table), "text/csv", f"{table.benchmark}-{phase}.csv")
        case "bibtex":
            return _file(table.bibtex, "application/x-bibtex", f"{table.benchmark}.bib")
        case "json":
            return JSONResponse(table.model_dump(mode="json"))
        case _:
            pass
    group = asked.get("group") if asked.get("group") in {group.name for group in table.groups} else None
    sort = asked.get("sort", "")
    tasks = [task for task in table.tasks if group in (None, task.group)]
    rows = [row for row in table.rows if any(task.name in row.cells for task in tasks)]
    if sort:  # rows without a number there come last; equal ones keep their order
        rows = sorted(rows, key=lambda row: -(value if (value := _value(row, sort)) is not None else -1.0))
    return render(
        request,
        "leaderboard.html",
        board=table,
        tasks=tasks,
        groups=[one for one in table.groups if group in (None, one.name)] if len(table.groups) > 1 else [],
        rows=rows,
        group=group,
        sort=sort,
        own=request.state.own,
        differences={(row.label, row.kind): _differences(row) for row in rows},
    )


def _value(row: BoardRow, column: str) -> float | None:
    if column == _MEAN:
        return row.mean.value if row.mean else None
    if column.startswith(_GROUP):
        mean = row.groups.get(column.removeprefix(_GROUP))
        return mean.value if mean else None
    cell = row.cells.get(column)
    return cell.mean if cell else None


def _differences(row: BoardRow) -> dict[str, float]:
    """Ours minus the printed number of the same row, by task."""
    return {
        task: cell.mean - cell.published
        for task, cell in row.cells.items()
        if row.kind == "measured" and cell.mean is not None and cell.published is not None
    }


def _csv(table: Leaderboard) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("row", "kind", "source", "task", "status", "mean", "std", "runs", "published"))
    writer.writerows(_lines(table))
    return out.getvalue()


def _lines(table: Leaderboard) -> Iterator[tuple[object, ...]]:
    for row in table.rows:
        for task, cell in row.cells.items():
            # a name that begins like a formula would be one in a spreadsheet
            label = f"'{row.label}" if row.label[:1] in ("=", "+", "-", "@", "\t", "\r") else row.label
            said = (cell.status, cell.mean, cell.std, cell.runs, cell.published)
            yield (label, row.kind, row.source or "", task, *said)


def _file(text: str, media_type: str, name: str) -> Response:
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
    return PlainTextResponse(text, headers=headers, media_type=media_type)


routes = [Route("/leaderboards", boards), Route("/leaderboards/{name:path}", board)]
