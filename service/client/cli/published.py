"""`pace catalogue published TABLE`: a printed table with its means, errata and source."""

from pace_core.spec.benchmarks import (
    PublishedRow,
    PublishedTable,
    bibtex_of,
    load_benchmarks,
    load_bibliography,
    load_published,
)
from pace_core.spec.suggest import did_you_mean
from service.client.cli.output import (
    Form,
    cell,
    failed,
    out,
    plain,
    print_bibtex,
    print_csv,
    print_json,
    print_table,
    print_text,
    table,
)

_CAUSES = {
    "truncated": "the printed mean is cut off, not rounded",
    "rounded_values": "the printed mean was taken of values with more digits",
    "contradicts": "the printed mean is not that of the printed values",
}


def show(name: str, shape: Form) -> None:
    """Prints one table. Raises a failure that names the near one for an unknown name."""
    found = _table(name)
    match shape:
        case Form.JSON:
            print_json(found.model_dump(mode="json"))
        case Form.CSV:
            print_csv(_records(found), ("row", "column", "value", "source"))
        case Form.TABLE:
            _print(found)


def cite(name: str | None) -> None:
    """Prints BibTeX of what one table quotes, or all of them where None. Raises as `show`."""
    if name is None:
        print_bibtex(bibtex_of(load_bibliography()), "")
    else:
        print_bibtex(_table(name).bibtex, name)


def _table(name: str) -> PublishedTable:
    known = load_published()
    if name not in known:
        raise failed(f"there is no published table {name!r}{did_you_mean(name, known)}")
    return known[name]


def _records(printed: PublishedTable) -> list[dict[str, object]]:
    return [
        {"row": row.label, "column": column, "value": value, "source": printed.source_of(row)}
        for row in printed.rows
        for column, value in _numbers(row).items()
    ]


def _numbers(row: PublishedRow) -> dict[str, float]:
    """Every number of the row by its column: tasks, tasks of other benchmarks, means of groups, the mean."""
    groups = {f"mean of {group}": value for group, value in row.groups.items()}
    return {**row.values, **row.others, **groups, **({} if row.mean is None else {"mean": row.mean})}


def _print(printed: PublishedTable) -> None:
    heads = _heads(printed)
    out().print(f"[bold]{cell(printed.title)}[/]  {plain(printed.source)}")
    shown = table("row", *(f">{plain(head)}" for head in heads.values()))
    notes: list[str] = []
    for row in printed.rows:
        said = [*(f"{_of(key)}{_CAUSES[cause]}" for key, cause in row.checks.items()), row.erratum, row.doubt]
        said += [row.setting and f"another protocol: {row.setting}", row.source and f"from {row.source}", row.note]
        marks: list[str] = []
        for note in filter(None, said):
            if note not in notes:
                notes.append(note)
            marks.append(str(notes.index(note) + 1))
        numbers = _numbers(row)
        whole = {column.name for column in printed.columns if column.unit == "minutes"}
        cells = [f"{numbers[key]:{'g' if key in whole else ''}}" if key in numbers else "–" for key in heads]
        shown.add_row(cell(row.label) + (f" [dim]{','.join(marks)})[/]" if marks else ""), *cells)
    print_table(shown)
    for number, note in enumerate(notes, 1):
        print_text(f"  {number}) {note}")
    for note in filter(None, (printed.setting and f"another protocol: {printed.setting}", printed.note)):
        print_text(f"  {note}")


def _of(key: str) -> str:
    return "" if key == "mean" else f"{key}: "


def _heads(printed: PublishedTable) -> dict[str, str]:
    """Column → its title, in the order of the benchmark's tasks or of the table's columns."""
    benchmark = load_benchmarks().get(printed.benchmark or "")
    titles = {column.name: f"{column.title} ({column.unit})" for column in printed.columns}
    titles |= {task.name: task.title for task in benchmark.tasks} if benchmark else {}
    used = {column: None for row in printed.rows for column in _numbers(row)}
    ordered = [*(key for key in titles if key in used), *(key for key in used if key not in titles and key != "mean")]
    return {key: titles.get(key, key) for key in [*ordered, *(["mean"] if "mean" in used else [])]}
