"""A recipe gives the settings of a row on a task; what the user gives wins."""

import pytest

from pace_core.spec import SpecError, load_benchmarks, load_recipes, merged, spec_of_recipe, validate
from pace_core.spec.recipes import Recipe

ROWS = [(recipe, row.label) for recipe in load_recipes().values() for row in recipe.rows]


@pytest.mark.parametrize(("recipe", "row"), ROWS, ids=lambda value: value.name if isinstance(value, Recipe) else value)
def test_every_row_resolves_on_every_task(recipe: Recipe, row: str) -> None:
    for task in load_benchmarks()[recipe.benchmark].tasks:
        spec = validate(spec_of_recipe(recipe.name, row, task.name))
        assert spec.task.name == f"{recipe.benchmark}/{task.name}"


def test_what_the_user_gives_wins_over_the_recipe() -> None:
    raw = spec_of_recipe("vtab-mini", "LoRA_add", "digits", {"method": {"rank": 2}, "seed": 7})
    spec = validate(raw)
    assert (spec.method.name, spec.method.params["rank"], spec.seed) == ("lora_add", 2, 7)


def test_another_name_in_a_section_replaces_the_whole_section() -> None:
    assert merged({"method": {"name": "lora_add", "rank": 4}}, {"method": {"name": "linear"}}) == {
        "method": {"name": "linear"}
    }


def test_an_unknown_row_names_the_near_one() -> None:
    with pytest.raises(SpecError, match="did you mean 'LoRA_add'"):
        spec_of_recipe("vtab-mini", "LoRA-add", "digits")


def test_every_field_of_a_recipe_says_where_its_value_comes_from() -> None:
    for recipe in load_recipes().values():
        assert recipe.origin in ("published", "inferred", "ours")
        if recipe.origin == "published":
            assert recipe.source
