"""Recipes: the settings behind a row of a table, per task."""

import copy
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict

from pace_core.spec.benchmarks import load_benchmarks
from pace_core.spec.errors import Fault, SpecError
from pace_core.spec.suggest import did_you_mean

Origin = Literal["published", "inferred", "ours"]


class RecipeRow(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    label: str
    """The row's name in tables, such as `PACE`."""
    spec: dict[str, Any]
    """Part of a RunSpec, over the recipe's defaults."""
    tasks: dict[str, dict[str, Any]] = {}
    """Task → part of a RunSpec, over the row's."""
    origins: dict[str, Origin] = {}
    """Dotted section or field → where its value comes from, over the recipe's."""
    task_origins: dict[str, dict[str, Origin]] = {}
    """Task → the same, over the row's."""


class Recipe(BaseModel):
    """Settings of every row of one benchmark."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    benchmark: str
    title: str
    origin: Origin
    """Where the values come from unless a row says otherwise."""
    source: str = ""
    protocol: list[str] = ["backbone", "training"]
    """Dotted sections and fields that a row of another label must share to stand in the same table."""
    compared: Literal["whole", "protocol"] = "whole"
    """In what a run under a row's label must be made as the row says, lest a table says that it is not."""
    defaults: dict[str, Any]
    """Part of a RunSpec, of every row."""
    tasks: dict[str, dict[str, Any]] = {}
    """Task → part of a RunSpec, over the defaults, for every row."""
    origins: dict[str, Origin] = {}
    """Dotted section or field → where its value comes from, where that is not `origin`."""
    rows: list[RecipeRow]

    def row(self, label: str) -> RecipeRow | None:
        """Returns the row of that label, whatever the case."""
        return next((r for r in self.rows if r.label.casefold() == label.casefold()), None)


@cache
def load_recipes() -> dict[str, Recipe]:
    """Loads every recipe, by its file's name."""
    folder = files("pace_core") / "recipes"
    return {
        (name := file.name.removesuffix(".toml")): Recipe.model_validate(
            {"name": name, **tomllib.loads(file.read_text("utf-8"))}
        )
        for file in sorted(folder.iterdir(), key=lambda f: f.name)
        if file.name.endswith(".toml")
    }


def spec_of_recipe(recipe: str, row: str, task: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the raw spec of one row on one task (its short name), with the user's overrides on top.

    Raises SpecError, with pointers under /recipe, where a name is unknown.
    """
    found = load_recipes().get(recipe)
    if found is None:
        raise _unknown("/recipe/name", "recipe", recipe, list(load_recipes()))
    found_row = found.row(row)
    if found_row is None:
        raise _unknown("/recipe/row", "row", row, [r.label for r in found.rows])
    benchmark = load_benchmarks()[found.benchmark]
    found_task = benchmark.task(task.removeprefix(f"{benchmark.name}/"))
    if found_task is None:
        raise _unknown("/recipe/task", "task", task, [t.name for t in benchmark.tasks])
    spec: dict[str, Any] = {"task": {"name": f"{benchmark.name}/{found_task.name}"}}
    for layer in (*_layers(found, found_row, found_task.name), overrides or {}):
        spec = merged(spec, layer)
    return spec


def origins(recipe: Recipe, row: RecipeRow, task: str) -> dict[str, Origin | None]:
    """Returns the origin of each field that the recipe sets for that row and task, by its dotted name.

    None: a recipe that is not wholly `ours` says nothing of the field.
    """
    said = recipe.origins | row.origins | row.task_origins.get(task, {})
    spec: dict[str, Any] = {}
    for layer in _layers(recipe, row, task):
        spec = merged(spec, layer)
    fallback: Origin | None = "ours" if recipe.origin == "ours" else None
    found: dict[str, Origin | None] = {}
    for section, fields in spec.items():
        for field in fields:
            found[f"{section}.{field}"] = said.get(f"{section}.{field}") or said.get(section) or fallback
    return found


def _layers(recipe: Recipe, row: RecipeRow, task: str) -> list[dict[str, Any]]:
    """Parts of a RunSpec, each over the ones before."""
    return [recipe.defaults, recipe.tasks.get(task, {}), row.spec, row.tasks.get(task, {})]


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `base` overridden by `over`, key by key; another name in a section replaces the section, not its keys."""
    result = copy.deepcopy(dict(base))
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            section, laid = cast(dict[str, Any], old), cast(Mapping[str, Any], value)
            renamed = "name" in laid and laid["name"] != section.get("name") and key != "task"
            result[key] = dict(laid) if renamed else merged(section, laid)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _unknown(pointer: str, what: str, name: str, known: list[str]) -> SpecError:
    return SpecError(
        [Fault(pointer=pointer, code="unknown_name", message=f"there is no {what} {name!r}{did_you_mean(name, known)}")]
    )
