"""`pace compare`: rows × seeds of one task as a table for people, programs, a page or a picture."""

from collections.abc import Iterable
from typing import Annotated

import typer

from service.client import Client
from service.client.cli import filters
from service.client.cli.compare_picture import picture
from service.client.cli.output import (
    AsCsv,
    AsJson,
    cell,
    out,
    plain,
    print_csv,
    print_json,
    print_table,
    print_text,
    table,
    write,
)
from service.client.comparison import Comparison, Difference, Phase, Row, Run, compare


def install(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("compare")(compare_)


def compare_(
    task: Annotated[str | None, typer.Argument(help="Such as my-images or vtab-mini/digits.")] = None,
    row: Annotated[list[str], typer.Option("--row", help="Only these labels.")] = [],  # noqa: B006
    versus: Annotated[str | None, typer.Option(help="The row to set the others beside; else the first.")] = None,
    phase: Annotated[Phase | None, typer.Option(help="search: validation images; final: test images.")] = None,
    tag: filters.Tags = [],  # noqa: B006
    owner: filters.Owner = None,
    project: filters.Project = None,
    since: filters.Since = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    md: Annotated[bool, typer.Option("--md", help="Print a Markdown table.")] = False,
    svg: Annotated[bool, typer.Option("--svg", help="Print a picture: `pace compare … --svg > table.svg`.")] = False,
) -> None:
    """Compare rows over seeds, and draws of training images where there are such: mean ± std, standard error, and the
    difference to one row with its interval.

    Only runs of equal settings, data and weights share a row; settings that differ under one label make rows of
    their own.
    """
    if sum((as_json, as_csv, md, svg)) > 1:
        raise typer.BadParameter("give one of --json, --csv, --md and --svg")
    wanted = filters.Filters(tag=tag, task=task, row=None, owner=owner, project=project, since=since).query()
    with Client() as client:
        found = compare(client.jobs.list(None, **wanted), versus, phase, row)
    if as_json:
        print_json(as_data(found))
    elif as_csv:
        print_csv([_record(found, each) for each in found.rows], tuple(_record(found, found.rows[0])))
    elif md:
        write(_markdown(found))
    elif svg:
        write(picture(found))
    else:
        print_comparison(found)


def print_comparison(found: Comparison) -> None:
    """Prints the table, percentages; `*` marks the highest mean."""
    out().print(f"[bold]{plain(found.task)}[/]  {_caption(found)}")
    head, *lines = _cells(found)
    shown = table("|row", *(f">{name}" for name in head[1:]))
    for line in lines:
        shown.add_row(*(cell(text) for text in line))
    print_table(shown)
    for note in _footnotes(found):
        print_text(note)


def as_data(found: Comparison) -> dict[str, object]:
    """Returns the whole comparison as plain data, fractions; `values` by seed, or seed/draw where there are draws."""
    rows: list[dict[str, object]] = [
        _record(found, row)
        | {"values": {_name(found, run): value for run, value in row.values.items()}, "jobs": row.jobs}
        for row in found.rows
    ]
    said: dict[str, object] = {
        name: getattr(found, name) for name in ("task", "phase", "split", "metric", "versus", "notes")
    }
    return said | {"rows": rows}


def _caption(found: Comparison) -> str:
    of = "validation images (phase search)" if found.phase == "search" else "test images (phase final)"
    unit = "accuracy in percent" if found.metric == "accuracy" else f"{found.metric} × 100"
    return f"{unit} on {of}; * highest mean"


def _footnotes(found: Comparison) -> list[str]:
    over = "seeds and draws" if _draws(found) else "seeds"
    lines = [f"difference: to {found.versus!r}; the interval holds 95 % by Student's t over {over}"]
    lines.append(f"pairs: {over} that both rows have, each minus its counterpart; –: independent samples (Welch)")
    if any(row.n < 2 for row in found.rows):
        lines.append("one run says nothing about its spread: run more seeds")
    if found.phase == "search":
        why = "chosen on these images, so the best of many rows looks better than it is"
        lines.append(f"{why}: test it once with task.phase=final")
    return [*lines, *found.notes]


def _cells(found: Comparison) -> list[list[str]]:
    best = max(row.mean for row in found.rows)
    draws = _draws(found)
    lines = [
        [
            "row",
            "n",
            "seeds",
            *(["draws"] if draws else []),
            "mean ± std",
            "std err",
            "difference",
            "95 % interval",
            "pairs",
        ]
    ]
    for row in found.rows:
        mean = _percent(row.mean) + (f" ± {_percent(row.std)}" if row.std is not None else "")
        lines.append(
            [
                row.label,
                str(row.n),
                _span(run.seed for run in row.values),
                *([_span(run.draw for run in row.values)] if draws else []),
                mean + ("*" if row.mean == best else " "),
                _percent(row.standard_error) if row.standard_error is not None else "–",
                f"{100 * row.difference.mean:+.1f}" if row.difference else "",
                *_interval(row.difference),
            ]
        )
    return lines


def _interval(said: Difference | None) -> tuple[str, str]:
    """Returns the interval, and how many pairs it stands on."""
    if said is None:
        return "", ""
    if said.low is None or said.high is None:
        return "too few runs", "–"
    return f"{100 * said.low:+.1f} to {100 * said.high:+.1f}", str(len(said.common)) if said.paired else "–"


def _draws(found: Comparison) -> bool:
    """Whether runs are on several draws of training images."""
    return len({run.draw for row in found.rows for run in row.values}) > 1


def _name(found: Comparison, run: Run) -> str:
    return f"{run.seed}/{run.draw}" if _draws(found) else str(run.seed)


def _span(said: Iterable[int]) -> str:
    numbers = sorted(set(said))
    whole = len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1))
    text = f"{numbers[0]}–{numbers[-1]}" if whole else ",".join(map(str, numbers))
    return text if len(text) <= 12 else f"{text[:11]}…"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _record(found: Comparison, row: Row) -> dict[str, object]:
    said = row.difference
    return {
        "task": found.task,
        "phase": found.phase,
        "metric": f"{found.split}/{found.metric}",
        "row": row.label,
        "n": row.n,
        "seeds": " ".join(map(str, sorted({run.seed for run in row.values}))),
        "draws": " ".join(map(str, sorted({run.draw for run in row.values}))) if _draws(found) else None,
        "mean": row.mean,
        "std": row.std,
        "standard_error": row.standard_error,
        "versus": found.versus if said else None,
        "difference": said.mean if said else None,
        "low": said.low if said else None,
        "high": said.high if said else None,
        "pairing": ("paired" if said.paired else "unpaired") if said and said.low is not None else None,
    }


def _markdown(found: Comparison) -> str:
    head, *lines = _cells(found)
    marks = ["---" if name == "row" else "--:" for name in head]
    table_lines = [head, marks, *lines]
    text = "\n".join("| " + " | ".join(_escaped(text.strip()) for text in line) + " |" for line in table_lines)
    return (
        f"**{_escaped(found.task)}**: {_caption(found)}\n\n{text}\n\n"
        + "\n".join(f"- {_escaped(note)}" for note in _footnotes(found))
        + "\n"
    )


def _escaped(text: str) -> str:
    """Returns text that Markdown shows as it is, in one line."""
    for letter in "\\`|<>[]*_#":
        text = text.replace(letter, f"\\{letter}") if letter != "*" or not text.endswith("*") else text
    return " ".join(text.split())
