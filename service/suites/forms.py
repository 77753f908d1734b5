"""A suite's table as CSV, Markdown, LaTeX and a picture. Percentages, but for CSV, which holds fractions."""

import csv
import io
from collections.abc import Callable
from html import escape

from service.leaderboards.schemas import CellView, MeanView, RowView
from service.suites.schemas import DifferenceView, SuiteTable

_COLUMNS: tuple[str, ...] = (
    "row",
    "kind",
    "task",
    "status",
    "mean",
    "std",
    "runs",
    "seeds",
    "draws",
    "published",
    "jobs",
    "notes",
)


def as_csv(table: SuiteTable) -> str:
    """Returns a line a row and task."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        for task, cell in row.cells.items():
            said = cell.model_dump(include={"status", "mean", "std", "runs", "published"})
            texts = {
                "seeds": " ".join(map(str, cell.seeds)),
                "draws": " ".join(map(str, cell.draws)),
                "jobs": " ".join(cell.jobs),
                "notes": "; ".join(cell.notes),
            }
            writer.writerow({"row": row.label, "kind": row.kind, "task": task} | said | texts)
    return out.getvalue()


def as_markdown(table: SuiteTable) -> str:
    """Returns the table, the notes it needs and the differences."""
    notes: list[str] = []
    head, *lines = _lines(table, notes, bold="**{}**")
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
    text = "".join(f"| {' | '.join(_markdown(cell) for cell in row)} |\n" for row in rows)
    said = [f"{index}) {note}" for index, note in enumerate(notes, 1)] + said_of(table) + table.notes
    return f"**{_markdown(_title(table))}**\n\n{text}" + "".join(f"\n{_markdown(line)}\n" for line in said)


def as_latex(table: SuiteTable) -> str:
    """Returns a table for `booktabs`; what else there is to say stands in comments."""
    notes: list[str] = []
    head, *lines = _lines(table, notes, bold="\\textbf{{{}}}", escaped=_latex)
    measured = sum(row.kind == "measured" for row in table.rows)
    body = [" & ".join(line) + r" \\" for line in lines]
    if 0 < measured < len(body):
        body.insert(measured, r"\midrule")
    said = [f"{index}) {note}" for index, note in enumerate(notes, 1)] + said_of(table) + table.notes
    return "\n".join(
        [
            f"% {_one_line(_title(table))}",
            f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *(f"% {_one_line(line)}" for line in said),
            "",
        ]
    )


_LETTER, _LINE, _LEFT, _TOP = 7.3, 26, 16, 66


def as_svg(table: SuiteTable) -> str:
    """Returns the table as a picture that needs no other file; the better within its column, the deeper the blue."""
    head, *lines = _lines(table, [], bold="{}", marks=False)
    widths = [max(len(line[index]) for line in (head, *lines)) * _LETTER + 18 for index in range(len(head))]
    ends = [_LEFT + sum(widths[: index + 1]) for index in range(len(widths))]
    width, height = ends[-1] + _LEFT, _TOP + _LINE * len(lines) + 16
    title = _title(table)
    width = max(width, len(title) * _LETTER + 2 * _LEFT)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12" role="img">',
        f"<title>{_text(title)}</title>",
        f'<rect width="{width:.0f}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="24" font-weight="bold" fill="#1f2328">{_text(title)}</text>',
    ]
    for index, name in enumerate(head):
        parts.append(_put(name, index, ends, 50, "#59636e"))
    shades = [_shades(table, index) for index in range(1, len(head))]
    for number, (row, line) in enumerate(zip(table.rows, lines, strict=True)):
        y = _TOP + _LINE * number
        for index, cell in enumerate(line):
            shade = shades[index - 1][number] if index else None
            if shade is not None:
                parts.append(
                    f'<rect x="{ends[index] - widths[index] + 2:.1f}" y="{y}" width="{widths[index] - 4:.1f}" '
                    f'height="{_LINE - 4}" rx="4" fill="#0969da" fill-opacity="{shade:.2f}"/>'
                )
            parts.append(_put(cell, index, ends, y + 15, "#59636e" if row.kind == "published" else "#1f2328"))
    return "\n".join([*parts, "</svg>"]) + "\n"


FORMS: dict[str, tuple[str, Callable[[SuiteTable], str]]] = {
    "csv": ("text/csv", as_csv),
    "md": ("text/markdown", as_markdown),
    "latex": ("application/x-latex", as_latex),
    "svg": ("image/svg+xml", as_svg),
}
"""Form → its media type, and what writes it."""


def said_of(table: SuiteTable) -> list[str]:
    """Returns a sentence for each difference over all tasks, and of a suite of one task for that one."""
    whole = [d for d in table.differences if d.task is None] or table.differences
    return [_sentence(difference) for difference in whole]


def _sentence(d: DifferenceView) -> str:
    versus = d.versus if d.kind == "without" else f"{d.versus} as published"
    over = f"{d.pairs} {d.over if d.pairs > 1 else d.over[:-1]}"
    where = "" if d.task is None else f" on {d.task}"
    if d.low is None or d.high is None or d.p is None:
        return f"{d.row} minus {versus}{where}: {100 * d.mean:+.1f} points over {over}"
    interval = f"95 % interval {100 * d.low:+.1f} to {100 * d.high:+.1f}"
    return f"{d.row} minus {versus}{where}: {100 * d.mean:+.1f} points ({interval}; p = {d.p:.2g}; {over})"


def _title(table: SuiteTable) -> str:
    of = "validation" if table.phase == "search" else "test"
    return f"{table.name or table.title}: {of} {table.metric} in percent, mean ± std (runs)"


def _places(table: SuiteTable) -> list[tuple[str, str, str]]:
    """Kind, name and title of every column behind the label."""
    titles = {task.name: task.title for task in table.tasks}
    places: list[tuple[str, str, str]] = []
    for group in table.groups:
        places += [("task", task, titles[task]) for task in group.tasks]
        if len(table.groups) > 1:
            places.append(("group", group.name, group.title))
    return [*places, ("mean", "", "Mean")] if len(table.tasks) > 1 else places


def _lines(
    table: SuiteTable, notes: list[str], bold: str, escaped: Callable[[str], str] = str, marks: bool = True
) -> list[list[str]]:
    """The head and every row as texts; `notes` gathers what the marks name."""
    places = _places(table)
    lines = [[escaped("row"), *(escaped(title) for _, _, title in places)]]
    for row in table.rows:
        label = row.label if row.kind == "measured" else f"{row.label} (published)"
        texts = [escaped(label)]
        for kind, name, _ in places:
            found = row.cells.get(name) if kind == "task" else row.groups.get(name) if kind == "group" else row.mean
            text = escaped(_shown(found))
            if found is not None and found.best:
                text = bold.format(text)
            if marks and isinstance(found, CellView) and found.notes:
                for note in found.notes:
                    if note not in notes:
                        notes.append(note)
                text += escaped(" " + ",".join(f"{notes.index(note) + 1})" for note in found.notes))
            texts.append(text)
        lines.append(texts)
    return lines


def _shown(found: CellView | MeanView | None) -> str:
    if found is None:
        return "–"
    if isinstance(found, MeanView):
        return f"{100 * found.value:.1f}" + ("" if found.complete else f" of {found.tasks}")
    if found.mean is None:
        return "…" if found.status == "pending" else found.status
    spread = f" ± {100 * found.std:.1f}" if found.std is not None else ""
    return f"{100 * found.mean:.1f}{spread}" + (f" ({found.runs})" if found.runs else "")


def _number(row: RowView, kind: str, name: str) -> float | None:
    if kind == "task":
        return row.cells[name].mean if name in row.cells else None
    mean = row.groups.get(name) if kind == "group" else row.mean
    return mean.value if mean else None


def _shades(table: SuiteTable, column: int) -> list[float | None]:
    kind, name, _ = _places(table)[column - 1]
    numbers = [_number(row, kind, name) for row in table.rows]
    known = [number for number in numbers if number is not None]
    if not known:
        return [None] * len(numbers)
    low, span = min(known), max(known) - min(known)
    return [None if n is None else 0.05 + 0.3 * ((n - low) / span if span else 0.5) for n in numbers]


def _put(text: str, column: int, ends: list[float], y: float, colour: str) -> str:
    if column == 0:
        return f'<text x="{_LEFT}" y="{y}" fill="{colour}">{_text(text)}</text>'
    return f'<text x="{ends[column] - 8:.1f}" y="{y}" text-anchor="end" fill="{colour}">{_text(text)}</text>'


def _text(text: str) -> str:
    return escape(_one_line(text))


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _markdown(text: str) -> str:
    return _one_line(text).replace("|", "\\|").replace("<", "&lt;")


_LATEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "–": "--",
    "…": r"\dots{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in _one_line(text))
