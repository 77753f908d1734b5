"""The one function that checks a spec: the same in CLI, client, API and core."""

import json
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel
from pydantic import ValidationError as PydanticError

from pace_core.spec.catalogue import Catalogue, Gives, load_catalogue
from pace_core.spec.checks import check_model, model_faults
from pace_core.spec.conflicts import Sections, find_conflicts
from pace_core.spec.errors import Fault, SpecError
from pace_core.spec.plain import plain
from pace_core.spec.run_spec import Backbone, Optimizer, Resources, RunSpec, Training
from pace_core.spec.sections import resolve_entry, resolve_task
from pace_core.spec.suggest import did_you_mean

_TYPED: dict[str, type[BaseModel]] = {
    "backbone": Backbone,
    "optimizer": Optimizer,
    "training": Training,
    "resources": Resources,
}
DEFAULT_DROP_PATH = 0.1


def validate(raw: Mapping[str, Any], catalogue: Catalogue | None = None) -> RunSpec:
    """Returns the resolved spec: every default is filled in, every name is known, and the fields fit each other.

    Raises SpecError with all faults at once. What only the data or a model from a hub can tell (the widths of its
    layers, labels out of range) is checked by the core before training.
    """
    catalogue = catalogue or load_catalogue()
    if not isinstance(raw, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  (what a user's file holds)
        raise SpecError([Fault(pointer="", code="wrong_type", message="a spec is an object of named sections")])
    raw, unfit = plain(raw)
    if unfit:  # nothing below is made for numbers and texts of any size
        raise SpecError(unfit)
    faults = _unknown_sections(raw)
    task = resolve_task(raw.get("task"), catalogue, faults)
    gives = catalogue.sources[task["source"]].gives if task else None
    resolved: dict[str, Any] = {
        "task": task,
        "method": resolve_entry(
            "method", _with_targets(raw.get("method"), gives, catalogue), catalogue.methods, faults
        ),
        "regularizer": resolve_entry(
            "regularizer", raw.get("regularizer", {"name": "none"}), catalogue.regularizers, faults
        ),
    }
    for section, model in _TYPED.items():
        resolved[section] = check_model(f"/{section}", raw.get(section, {}), model, faults)
    _fill_drop_path(resolved, gives, catalogue)
    sections = ("method", "regularizer", "backbone", "optimizer", "training")
    faults += find_conflicts(Sections(gives, **{name: resolved[name] for name in sections}), catalogue)
    resolved |= {key: raw[key] for key in ("init_from", "seed") if key in raw}
    spec = _typed(resolved, faults)
    if faults or spec is None:
        raise SpecError(faults)
    return spec


_MANY = 2_000
_valid: dict[tuple[int, str], tuple[Catalogue, RunSpec]] = {}
"""Specs of seed 0 found valid lately, by catalogue (which the entry keeps, and so its id) and what was given."""


def validate_often(raw: Mapping[str, Any], catalogue: Catalogue) -> RunSpec:
    """Does `validate` for JSON data, in a hundredth of the time where the same came before, with any seed."""
    seed = raw.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**31:
        return validate(raw, catalogue)
    key = id(catalogue), json.dumps({name: value for name, value in raw.items() if name != "seed"})
    found = _valid.get(key)
    if found is None:
        found = catalogue, validate({**raw, "seed": 0}, catalogue)
        if len(_valid) >= _MANY:
            _valid.clear()
        _valid[key] = found
    return found[1].model_copy(update={"seed": seed})


def _unknown_sections(raw: Mapping[str, Any]) -> list[Fault]:
    return [
        Fault(
            pointer=f"/{key}",
            code="unknown_key",
            message=f"there is no section {key!r}{did_you_mean(str(key), RunSpec.model_fields)}",
        )
        for key in raw
        if key not in RunSpec.model_fields
    ]


def _with_targets(method: Any, gives: Gives | None, catalogue: Catalogue) -> Any:
    """Sets the adapted layers that the spec leaves open: q and v for texts, as LoRA has it on GLUE."""
    if gives in (None, "images") or not isinstance(method, Mapping):
        return method
    given = cast(Mapping[str, Any], method)
    entry = catalogue.methods.get(str(given.get("name")))
    return {"targets": "q,v", **given} if entry and "targets" in entry.params["properties"] else given


def _fill_drop_path(resolved: Mapping[str, Any], gives: Gives | None, catalogue: Catalogue) -> None:
    """Sets the stochastic depth that the spec leaves open: none for texts and a method that freezes the features."""
    training, method = resolved["training"], resolved["method"]
    if training and method and training["drop_path"] is None:
        without = gives != "images" or catalogue.methods[method["name"]].freezes_features
        training["drop_path"] = 0.0 if without else DEFAULT_DROP_PATH


def _typed(resolved: Mapping[str, Any], faults: list[Fault]) -> RunSpec | None:
    """Returns the spec of the resolved sections; appends what only shows in the whole, and returns None then."""
    try:
        return RunSpec.model_validate({key: value for key, value in resolved.items() if value is not None})
    except PydanticError as error:
        known = {fault.pointer for fault in faults}
        # a section that was refused is absent here, which is no news
        new = [fault for fault in model_faults("", error, RunSpec) if fault.pointer.count("/") == 1]
        faults += [fault for fault in new if not _is_within(fault, known)]
        return None


def _is_within(fault: Fault, known: set[str]) -> bool:
    return any(pointer == fault.pointer or pointer.startswith(f"{fault.pointer}/") for pointer in known)
