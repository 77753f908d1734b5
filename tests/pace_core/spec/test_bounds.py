"""Every number in a spec is finite and bounded, every text has a longest length; the rest is a fault with a pointer."""

import datetime
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pace_core.spec import RunSpec, SpecError, load_catalogue, validate
from pace_core.spec.plain import LARGEST
from pace_core.spec.run_spec import Backbone, Optimizer, Resources, Training

GOOD: dict[str, Any] = {"task": {"name": "vtab-mini/digits"}, "method": {"name": "linear"}}
SECTIONS = {"backbone": Backbone, "optimizer": Optimizer, "training": Training, "resources": Resources}


def is_number(schema: dict[str, Any]) -> bool:
    kinds = {schema.get("type"), *(branch.get("type") for branch in schema.get("anyOf", []))} - {None, "null"}
    return bool(kinds) and kinds <= {"integer", "number"}


def numeric_fields() -> list[tuple[str, str, str]]:
    """Section, name and field of every number that a spec may hold."""
    catalogue = load_catalogue()
    found = [("", "", "seed"), ("task", "vtab-mini/digits", "num_classes")]
    for section, model in SECTIONS.items():
        properties = model.model_json_schema(by_alias=True)["properties"]
        found += [(section, "", key) for key, schema in properties.items() if is_number(schema)]
    for section, entries in (("method", catalogue.methods), ("regularizer", catalogue.regularizers)):
        for name, entry in entries.items():
            fields = entry.params.get("properties", {})
            found += [(section, name, key) for key, schema in fields.items() if is_number(schema)]
    for name, entry in catalogue.sources.items():
        fields = entry.params.get("properties", {})
        found += [("task", name, key) for key, schema in fields.items() if is_number(schema)]
    return found


FIELDS = numeric_fields()


def spec_with(field: tuple[str, str, str], value: Any) -> tuple[dict[str, Any], str]:
    """A spec with that value in the field, and the field's pointer."""
    section, name, key = field
    if not section:
        return GOOD | {key: value}, f"/{key}"
    named = {"name": name} if name else {}
    if section == "task" and "/" not in name:
        named = {"name": "mine", "source": name, "path": "/photos"}
    return GOOD | {section: {**GOOD.get(section, {}), **named, key: value}}, f"/{section}/{key}"


def faults(raw: dict[str, Any]) -> dict[str, str]:
    try:
        spec = validate(raw)
    except SpecError as refused:
        return {fault.pointer: fault.message for fault in refused.faults}
    assert RunSpec.model_validate_json(json.dumps(spec.json_dict(), allow_nan=False)) == spec
    return {}


NO_NUMBERS = [10**400, -(10**400), 1e309, float("nan"), -float("inf"), 1e308, True, False, 10**5000, "7", [1], {"a": 1}]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda v: "huge" if isinstance(v, int) and v > 1e300 else None)
def test_what_is_no_number_or_out_of_all_bounds_is_refused_in_every_field(value: Any) -> None:
    for field in FIELDS:
        raw, pointer = spec_with(field, value)
        found = faults(raw)
        assert any(at == pointer or at.startswith(f"{pointer}/") for at in found), (field, found)
        assert all(len(message) < 1000 for message in found.values())


@settings(deadline=None, max_examples=300)
@given(field=st.sampled_from(FIELDS), value=st.integers() | st.floats() | st.integers(10**300, 10**310))
def test_every_number_is_taken_as_a_finite_one_or_refused_by_its_pointer(field: Any, value: float) -> None:
    raw, pointer = spec_with(field, value)
    found = faults(raw)
    if not abs(value) <= LARGEST:
        assert pointer in found


def test_minus_nothing_is_nothing_and_a_whole_number_is_one() -> None:
    assert str(validate(GOOD | {"optimizer": {"weight_decay": -0.0}}).optimizer.weight_decay) == "0.0"
    method = {"name": "lora_add", "rank": 4.0}
    assert repr(validate(GOOD | {"method": method}).method.params["rank"]) == "4"


def within_itself() -> dict[str, Any]:
    loop: dict[str, Any] = {"name": "linear"}
    loop["more"] = loop
    return loop


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def laughs() -> list[Any]:
    """A YAML file of ten lines can hold this."""
    value: list[Any] = ["ha"] * 10
    for _ in range(8):
        value = [value] * 10
    return value


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"task": {"name": "f" * 201, "source": "image_folder", "path": "/p"}}, "/task/name"),
        ({"task": {"name": "flo\nwers", "source": "image_folder", "path": "/p"}}, "/task/name"),
        ({"task": {"name": "flo\x1b[31mwers", "source": "image_folder", "path": "/p"}}, "/task/name"),
        ({"task": {"name": "  ", "source": "image_folder", "path": "/p"}}, "/task/name"),
        ({"task": {"name": "flo\ud800wers", "source": "image_folder", "path": "/p"}}, "/task/name"),
        ({"task": {"name": "flowers", "source": "image_folder", "path": "/p\udcfc"}}, "/task/path"),
        ({"task": {"name": "flowers", "source": "image_folder", "path": "/p" * 3000}}, "/task/path"),
        ({"task": {"name": "flowers", "source": "x" * 3000, "path": "/p"}}, "/task/source"),
        ({"backbone": {"name": "vit_" + "x" * 3000, "weights": "y" * 3000}}, "/backbone/weights"),
        ({"init_from": "a" * 10_000}, "/init_from"),
        ({"method": {"name": "linear", "k" * 300: 1}}, "/method"),
        ({"method": {"name": "linear", "a/b~c": float("nan")}}, "/method/a~1b~0c"),
        ({"method": {"name": "linear", 7: 1}}, "/method"),
        ({"method": {"name": b"linear"}}, "/method/name"),
        ({"method": {"name": datetime.date(2024, 1, 1)}}, "/method/name"),
        ({7: 1}, ""),
        ({10**5000: 1}, ""),
        ({"method": within_itself()}, "/method" + "/more" * 16),
        ({"method": {"name": "linear", "x": nested(10_000)}}, "/method/x" + "/0" * 15),
        ({"method": {"name": "linear", "x": laughs()}}, None),
    ],
)  # fmt: skip
def test_text_keys_and_shapes_are_bounded(change: dict[Any, Any], pointer: str | None) -> None:
    found = faults(GOOD | change)
    assert found
    assert pointer is None or pointer in found, found
    assert all(len(message) < 1000 and message.isprintable() for message in found.values())


def test_names_of_people_and_places_are_taken() -> None:
    for name in ("Blumen – Wiese 🌼", "שלום", "a" * 200, "=1+1", "<b>x</b>"):
        raw = GOOD | {"task": {"name": name, "source": "image_folder", "path": "/photos"}}
        assert validate(raw).task.name == name
