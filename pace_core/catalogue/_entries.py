"""Entries of the catalogue from the modules of a registry."""

import json
from types import ModuleType
from typing import Any

import pace_core.data
import pace_core.methods
import pace_core.regularizers
from pace_core import registry
from pace_core.spec.catalogue import MethodEntry, RegularizerEntry, SourceEntry


def methods() -> list[MethodEntry]:
    """By name, the tuners of `peft` last."""
    return [
        MethodEntry(
            **_common(name, module),
            gives=sorted(module.GIVES),
            fits=sorted(module.FITS),
            starts_pretrained=module.STARTS_PRETRAINED,
            **_present(module, "stages", "freezes_features"),
        )
        for name, module in [*_of(pace_core.methods), *sorted(pace_core.methods.peft_tuners().items())]
    ]


def regularizers() -> list[RegularizerEntry]:
    """By name."""
    return [
        RegularizerEntry(
            **_common(name, module),
            needs=sorted(module.NEEDS),
            **_present(module, "reasons", "passes", "mixes"),
        )
        for name, module in _of(pace_core.regularizers)
    ]


def sources() -> list[SourceEntry]:
    """By name."""
    return [SourceEntry(**_common(name, module), **_present(module, "phases")) for name, module in _of(pace_core.data)]


def _of(folder: ModuleType) -> list[tuple[str, ModuleType]]:
    return sorted(registry.load(folder).items())


def _common(name: str, module: ModuleType) -> dict[str, Any]:
    assert module.__doc__, f"{module.__file__} lacks a docstring"
    return {
        "name": name,
        "title": module.TITLE,
        "summary": module.__doc__.strip().splitlines()[0],
        "params": _plain(module.Params.model_json_schema(by_alias=True)),
        **_present(module, "paper"),
    }


def _present(module: ModuleType, *fields: str) -> dict[str, Any]:
    """What the module says of an entry's fields that have a default."""
    return {field: getattr(module, field.upper()) for field in fields if hasattr(module, field.upper())}


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the titles that pydantic makes of names; descriptions on one line, alternatives in one order.

    Python keeps one object for `A | B` and `B | A`, so their order depends on which was written first in the process.
    """
    plain: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            plain[key] = {name: _plain(field) for name, field in value.items()}
        elif key == "description":
            plain[key] = " ".join(value.split())
        elif key == "anyOf":
            plain[key] = sorted(value, key=lambda choice: (choice.get("type") == "null", json.dumps(choice)))
        elif key != "title":
            plain[key] = value
    return plain
