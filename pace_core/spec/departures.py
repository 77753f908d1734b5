"""Departures of a run from its benchmark's recipe, as a reader of its number must know them."""

from typing import Any

from pace_core.spec.benchmarks import find_task, published_beside
from pace_core.spec.catalogue import Catalogue
from pace_core.spec.errors import SpecError
from pace_core.spec.recipes import Recipe, load_recipes, merged, origins, spec_of_recipe
from pace_core.spec.validate import validate_often

_HARMLESS = ("checkpoint_every_steps", "diagnostics", "micro_batch", "recompute", "eval_every")
"""Fields that change no result except in its last bits."""
_PLACES = ("path", "root", "folder", "file", "imagenet_path", "draw")
"""Fields that say where data lies, and which draw of it is meant; what it is, its hash says."""
_UNSET = {
    "backbone.image_size": "the network's own",
    "backbone.max_length": "512, or as many as the network reads",
    "optimizer.head_lr": "that of optimizer.lr",
    "optimizer.clip_norm": "without clipping",
    "training.rand_augment": "without",
    "training.ema_decay": "without",
    "task.num_classes": "as many as the data has",
    "task.train_images": "all",
    "task.background": "none, so that transparency is ignored",
    "method.alpha": "without scaling",
    "method.architecture": "searched",
}
"""What it means where a field is not set."""
_COMPARED = ("task", "backbone", "method", "regularizer", "optimizer", "training")


def recipes_of(benchmark: str) -> list[Recipe]:
    """Returns the recipes of that benchmark, the one of its name first."""
    found = [recipe for recipe in load_recipes().values() if recipe.benchmark == benchmark]
    return sorted(found, key=lambda recipe: recipe.name != benchmark)


def departures(spec: dict[str, Any], row: str, catalogue: Catalogue) -> list[str]:
    """Returns where a resolved spec departs from its benchmark's nearest recipe, a clause each.

    A row of a recipe is compared with that recipe, whole or as it says; a row of any other label in the `protocol` of
    the benchmark's recipes; where none of these can have the run's method, that is said. Empty for a task of no
    benchmark, or of one without a recipe.
    """
    found = find_task(spec["task"]["name"])
    if found is None:
        return []
    recipes = recipes_of(found[0].name)
    own = [recipe for recipe in recipes if recipe.row(row)]
    compared: list[list[str]] = []
    refused: list[str] = []
    for recipe in own or recipes:
        try:
            compared.append(_departures(spec, recipe, row, catalogue))
        except SpecError as error:
            refused.append(f"it cannot be compared with recipe {recipe.name}, which refuses it: {error.faults[0]}")
    return min(compared, key=len) if compared else refused[:1]


def notices(spec: dict[str, Any], row: str, catalogue: Catalogue) -> list[str]:
    """Returns what the one who submits a run of a published benchmark should know before it runs, a sentence each."""
    found = find_task(spec["task"]["name"])
    if found is None or not published_beside(found[0].name):
        return []
    said = [f"not the benchmark's protocol: {clause}" for clause in departures(spec, row, catalogue)]
    return [*said, *inferred(spec, row)]


def inferred(spec: dict[str, Any], row: str) -> list[str]:
    """Returns a sentence that names the fields which the recipe of this row infers and the spec takes as they are."""
    found = find_task(spec["task"]["name"])
    if found is None:
        return []
    for recipe in recipes_of(found[0].name):
        known = recipe.row(row)
        if known is None:
            continue
        raw = spec_of_recipe(recipe.name, row, found[1].name)
        fields = [
            f"{field} {given:g}" if isinstance(given := _value(spec, field), float) else f"{field} {given}"
            for field, origin in origins(recipe, known, found[1].name).items()
            if origin == "inferred" and _taken(spec, raw, field) and field != "backbone.weights"
        ]
        if fields:
            return [f"recipe {recipe.name} infers what is not published: {', '.join(fields)}"]
    return []


def refusal(benchmark: str, row: str, task: str, catalogue: Catalogue) -> str | None:
    """Returns why a recipe's row cannot run on the task; None where it can, or where no recipe has such a row."""
    for recipe in recipes_of(benchmark):
        if recipe.row(row):
            try:
                validate_often(spec_of_recipe(recipe.name, row, task), catalogue)
            except SpecError as error:  # where its data lies, only the user can say
                faults = [fault for fault in error.faults if not fault.pointer.startswith("/task/")]
                return str(faults[0]) if faults else None
    return None


def _departures(spec: dict[str, Any], recipe: Recipe, row: str, catalogue: Catalogue) -> list[str]:
    wanted = _wanted(spec, recipe, row, catalogue)
    protocol = list(_COMPARED) if recipe.row(row) and recipe.compared == "whole" else recipe.protocol
    return [
        f"{section}.{field} is {_said(section, field, given)}; "
        f"recipe {recipe.name} says {_said(section, field, wanted[section].get(field))}"
        for section in _COMPARED
        if section in wanted
        for field, given in spec[section].items()
        if (section in protocol or f"{section}.{field}" in protocol)
        and field not in _HARMLESS
        and not (section == "task" and field in _PLACES)
        and not _same(section, field, given, wanted[section].get(field))
    ]


def _said(section: str, field: str, value: Any) -> str:
    return repr(value) if value is not None else _UNSET.get(f"{section}.{field}", "not set")


def _same(section: str, field: str, given: Any, wanted: Any) -> bool:
    if (section, field) == ("backbone", "weights"):  # where nothing ships, auto is the hub's
        return given == wanted or {given, wanted} == {"auto", "hub"}
    return given == wanted


def _wanted(spec: dict[str, Any], recipe: Recipe, row: str, catalogue: Catalogue) -> dict[str, dict[str, Any]]:
    """The recipe's spec, resolved, for the run's task: its row's, or that of a row with the run's own method.

    Raises SpecError where there is none.
    """
    task = {key: value for key, value in spec["task"].items() if key in ("name", "phase", *_PLACES)}
    if recipe.row(row):
        raw = spec_of_recipe(recipe.name, row, spec["task"]["name"], {"task": task})
    else:
        sections = {"task": task, "method": spec["method"], "regularizer": spec["regularizer"]}
        raw = merged(recipe.defaults, sections)
    return validate_often(raw, catalogue).json_dict()


def _taken(spec: dict[str, Any], raw: dict[str, Any], field: str) -> bool:
    """Whether the spec has the recipe's value of that field, and of the same optimizer, method or regularizer."""
    name = f"{field.partition('.')[0]}.name"
    same = _value(raw, name) in (None, _value(spec, name))
    return same and _value(spec, field) == _value(raw, field)


def _value(spec: dict[str, Any], field: str) -> Any:
    section, _, name = field.partition(".")
    return spec.get(section, {}).get(name)
