"""Fields of forms, made from JSON Schemas; and what was typed into them, read back by the same schemas."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

Schema = Mapping[str, Any]


class Field(NamedTuple):
    """One field of a form."""

    pointer: str
    """JSON pointer of what it fills: its name in the form."""
    id: str
    title: str
    about: str
    choices: list[str]
    """Of which it is one; none where it is typed."""
    default: str
    """What holds where it is left empty."""
    value: str
    long: bool
    """Whether it is written in several lines."""
    fault: str


def fields_of(schema: Schema, at: str, typed: Mapping[str, str], faults: Mapping[str, str]) -> list[Field]:
    """Returns a field for every property of the schema."""
    return [field_of(each, f"{at}/{name}", typed, faults) for name, each in schema.get("properties", {}).items()]


def field_of(schema: Schema, pointer: str, typed: Mapping[str, str], faults: Mapping[str, str]) -> Field:
    """Returns the field of one property."""
    kinds = _kinds(schema)
    return Field(
        pointer=pointer,
        id=id_of(pointer),
        title=pointer.rpartition("/")[2],
        about=" ".join(str(schema.get("description", "")).split()),
        choices=_choices(schema),
        default=written(schema.get("default")),
        value=typed.get(pointer, ""),
        long="object" in kinds or ("array" in kinds and "$ref" in json.dumps(schema)),
        fault=faults.get(pointer, ""),
    )


def id_of(pointer: str) -> str:
    """Returns the id of the field's element."""
    return "f" + re.sub(r"[^A-Za-z0-9_]", "-", pointer)


def written(value: Any) -> str:
    """Writes a value as it would be typed."""
    if value is None or value in ({}, [], ""):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, str | int) and not isinstance(each, bool) for each in value):
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False)


def read(schema: Schema, text: str) -> Any:
    """Returns what the text says for a property; text that the schema has no reading for, as it is, to be refused."""
    for choice in _enum(schema):
        if written(choice) == text:
            return choice
    kinds = _kinds(schema)
    if "boolean" in kinds and text in ("true", "false"):
        return text == "true"
    if kinds & {"integer", "number"} and (number := _number(text)) is not None:
        return number
    if kinds & {"object", "array"} and text[:1] in ("{", "["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    if "array" in kinds and ("string" not in kinds or "," in text):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        items = next((each["items"] for each in _variants(schema) if "items" in each), {})
        return [read(items, part) for part in parts]
    return text


def _variants(schema: Schema) -> list[Schema]:
    return [schema, *schema.get("anyOf", [])]


def _kinds(schema: Schema) -> set[str]:
    kinds = {str(each["type"]) for each in _variants(schema) if "type" in each}
    return kinds | ({"object"} if any("$ref" in each for each in _variants(schema)) else set())


def _enum(schema: Schema) -> list[Any]:
    return [choice for each in _variants(schema) for choice in each.get("enum", [])]


def _choices(schema: Schema) -> list[str]:
    kinds = _kinds(schema) - {"null"}
    if kinds == {"boolean"}:
        return ["true", "false"]
    enums = [each for each in _variants(schema) if "enum" in each]
    others = [each for each in schema.get("anyOf", []) if "enum" not in each and each.get("type") != "null"]
    return [written(choice) for choice in _enum(schema)] if enums and not others else []


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if abs(number) < float("inf") else None  # no JSON writes inf and nan
    return None
