"""Whether a run was made as its benchmark's recipe says."""

from typing import Any

from pace_core.spec import (
    Backbone,
    Catalogue,
    Recipe,
    SpecError,
    Training,
    load_recipes,
    spec_of_recipe,
    validate,
)

_HARMLESS = ("checkpoint_every_steps", "diagnostics", "micro_batch", "eval_every")
"""Fields that change no result except in its last bits."""


def recipes_of(benchmark: str) -> list[Recipe]:
    """Returns the recipes of that benchmark."""
    return [recipe for recipe in load_recipes().values() if recipe.benchmark == benchmark]


def differences(spec: dict[str, Any], benchmark: str, row: str, catalogue: Catalogue) -> list[str]:
    """Lists where a resolved spec departs from the benchmark's nearest recipe, a clause each.

    A row of a recipe is compared whole, any other row in what a recipe fixes for all its rows: backbone and training.
    Empty where the benchmark has no recipe.
    """
    found = [_departures(spec, recipe, row, catalogue) for recipe in recipes_of(benchmark)]
    return min(found, key=len) if found else []


def refusal(benchmark: str, row: str, task: str, catalogue: Catalogue) -> str | None:
    """Says why a recipe's row cannot run on the task; None where it can, or where no recipe has such a row."""
    for recipe in recipes_of(benchmark):
        if recipe.row(row):
            try:
                validate(spec_of_recipe(recipe.name, row, task), catalogue)
            except SpecError as error:
                return str(error.faults[0])
    return None


def _departures(spec: dict[str, Any], recipe: Recipe, row: str, catalogue: Catalogue) -> list[str]:
    wanted = _wanted(spec, recipe, row, catalogue)
    return [
        f"{section}.{field} is {given!r}, recipe {recipe.name} says {wanted[section].get(field)!r}"
        for section in wanted
        for field, given in spec[section].items()
        if field not in _HARMLESS and wanted[section].get(field) != given
    ]


def _wanted(spec: dict[str, Any], recipe: Recipe, row: str, catalogue: Catalogue) -> dict[str, dict[str, Any]]:
    if recipe.row(row):
        phase = {"task": {"phase": spec["task"]["phase"]}}
        try:
            resolved = validate(spec_of_recipe(recipe.name, row, spec["task"]["name"], phase), catalogue).json_dict()
        except SpecError:
            return {}
        return {name: resolved[name] for name in ("task", "backbone", "method", "regularizer", "optimizer", "training")}
    return {
        "backbone": Backbone.model_validate(recipe.defaults.get("backbone", {})).model_dump(mode="json"),
        "training": Training.model_validate(recipe.defaults.get("training", {})).model_dump(mode="json"),
    }
