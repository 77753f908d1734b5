"""The definitions of the benchmarks and the paper's table beside them."""

import pytest

from pace_core.spec import find_task, load_benchmarks, load_published


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
    table = load_published()["vtab-1k"]
    names = {task.name for task in load_benchmarks()["vtab-1k"].tasks}
    assert len(table.rows) == 12
    assert all(set(row.values) == names for row in table.rows)
