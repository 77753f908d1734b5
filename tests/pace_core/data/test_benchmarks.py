"""The definitions of the benchmarks and the paper's table beside them."""

from statistics import mean

import pytest

from pace_core.spec import find_task, load_benchmarks, load_published

CONTRADICTS_ITSELF = {"NOAH", "RepAdapter"}
"""Rows of the paper whose printed mean does not follow from their values."""


def test_vtab_1k_has_its_nineteen_tasks_in_three_groups() -> None:
    tasks = load_benchmarks()["vtab-1k"].tasks
    assert [sum(t.group == g for t in tasks) for g in ("natural", "specialized", "structured")] == [7, 4, 8]
    assert sum(t.num_classes for t in tasks) == 940


@pytest.mark.parametrize(
    ("alias", "name"), [("cifar100", "cifar"), ("pets", "oxford_iiit_pet"), ("snorb_ele", "smallnorb_ele")]
)
def test_tasks_are_found_by_their_usual_other_names(alias: str, name: str) -> None:
    found = find_task(f"vtab-1k/{alias}")
    assert found is not None
    assert found[1].name == name


def test_table_1_has_twelve_rows_with_a_number_for_every_task() -> None:
    table = next(t for t in load_published() if t.benchmark == "vtab-1k")
    names = {task.name for task in load_benchmarks()["vtab-1k"].tasks}
    assert len(table.rows) == 12
    assert all(set(row.values) == names for row in table.rows)


def test_printed_means_are_the_mean_of_group_means_where_the_paper_agrees_with_itself() -> None:
    benchmark = load_benchmarks()["vtab-1k"]
    table = next(t for t in load_published() if t.benchmark == "vtab-1k")
    for row in table.rows:
        groups = [[row.values[t.name] for t in benchmark.tasks if t.group == g.name] for g in benchmark.groups]
        agrees = row.mean == pytest.approx(mean(map(mean, groups)), abs=0.11)  # the paper truncates
        assert agrees == (row.label not in CONTRADICTS_ITSELF), row.label
        assert agrees or row.note
