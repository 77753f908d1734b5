"""Printed tables: what they hold is traceable, and every printed mean is that of its values or says why it is not."""

import math
import re
from statistics import mean

import pytest

from pace_core.spec import (
    PublishedRow,
    PublishedTable,
    find_task,
    load_benchmarks,
    load_bibliography,
    load_catalogue,
    load_published,
    published_beside,
)

TABLES = list(load_published().values())
ROWS = [pytest.param(table, row, id=f"{table.name}-{row.label}") for table in TABLES for row in table.rows]


def recomputed(table: PublishedTable, row: PublishedRow) -> dict[str, float]:
    """`mean` and groups → their mean as the source takes it, as far as the row has what it is taken of."""
    benchmark = load_benchmarks()[table.benchmark or ""]
    of_group = {
        group.name: [row.values[t.name] for t in benchmark.tasks if t.group == group.name and t.name in row.values]
        for group in benchmark.groups
    }
    means = {name: mean(values) for name, values in of_group.items() if values}
    found = {name: means[name] for name in row.groups if name in means}
    if row.values and (table.mean or benchmark.mean) == "mean_of_tasks":
        found["mean"] = mean(row.values.values())
    elif groups := row.groups or means:
        found["mean"] = mean(groups.values())
    return found


def cause(printed: float, exact: float) -> str | None:
    """Why a printed mean is not the rounded one, by arithmetic alone; values are printed to 0.1."""
    digits = max(1, len(str(printed).partition(".")[2].rstrip("0")))
    unit = 10.0**-digits
    if abs(printed - exact) <= unit / 2 + 1e-6:
        return None
    if abs(math.floor(exact / unit + 1e-6) * unit - printed) < 1e-9:
        return "truncated"
    return "rounded_values" if abs(printed - exact) < unit + 0.05 - 1e-6 else "contradicts"


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_every_printed_mean_adds_up_or_says_why_not(table: PublishedTable, row: PublishedRow) -> None:
    if table.benchmark is None:
        assert not row.checks
        return
    printed = row.groups | ({} if row.mean is None else {"mean": row.mean})
    exact = recomputed(table, row)
    found = {key: why for key in printed if key in exact and (why := cause(printed[key], exact[key]))}
    assert row.checks == found
    assert "contradicts" not in found.values() or row.erratum, "a mean that contradicts its values needs the truth"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_number_has_a_source_a_column_and_known_methods(table: PublishedTable) -> None:
    benchmark, catalogue = load_benchmarks().get(table.benchmark or ""), load_catalogue()
    columns = {task.name for task in benchmark.tasks} if benchmark else {column.name for column in table.columns}
    groups = {group.name for group in benchmark.groups} if benchmark else set[str]()
    labels = [row.label for row in table.rows]
    assert len(labels) == len(set(labels))
    for row in table.rows:
        assert table.source_of(row)
        assert set(row.values) <= columns
        assert set(row.groups) <= groups
        assert all(find_task(task) for task in row.others)
        assert row.values or row.groups or row.mean
        assert row.method is None or row.method in catalogue.methods
        assert row.regularizer is None or row.regularizer in catalogue.regularizers


def test_all_vision_tables_of_the_paper_are_there() -> None:
    sources = {table.source.rpartition("Table ")[2] for table in TABLES if "PACE" in table.source}
    assert sources >= {str(number) for number in (1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14, 15)}


def test_the_rows_that_the_paper_gets_wrong_are_named_with_the_truth() -> None:
    wrong = {(table.name, row.label) for table in TABLES for row in table.rows if "contradicts" in row.checks.values()}
    assert wrong == {
        ("vtab-1k", "NOAH"),
        ("vtab-1k", "RepAdapter"),
        ("fgvc", "Full"),
        ("domain-adaptation", "VPT"),
    }
    true = next(row for row in load_published()["vtab-1k-hyperadapter"].rows if row.label == "RepAdapter")
    assert true.mean == 76.1
    assert true.values["cifar"] == 72.4


def test_tables_of_another_protocol_stand_on_no_leaderboard_and_the_papers_own_comes_first() -> None:
    beside = [table.name for table in published_beside("vtab-1k")]
    assert beside[0] == "vtab-1k"
    assert "epochs" not in beside
    assert "backbones-mae" not in beside
    assert "backbones-swin-b" not in [table.name for table in published_beside("domain-adaptation")]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_everything_quoted_can_be_cited(table: PublishedTable) -> None:
    for row in table.rows:
        entry = load_bibliography()[table.cited_by(row)]
        year = re.search(r"20\d\d", table.source_of(row))
        assert year is None or f"{{{year[0]}}}" in entry, "the source and its entry agree on the year"
        assert entry in table.bibtex
    assert table.bibtex.count("@") == len({table.cited_by(row) for row in table.rows})


def test_the_bibliography_is_bibtex_and_every_entry_is_used() -> None:
    used = {table.cited_by(row) for table in TABLES for row in table.rows}
    assert used == load_bibliography().keys()
    for entry in load_bibliography().values():
        assert entry.count("{") == entry.count("}")
        assert re.fullmatch(r"@(article|inproceedings|misc)\{[a-z0-9]+,\n.*\n\}", entry, re.DOTALL)
        assert "title" in entry
