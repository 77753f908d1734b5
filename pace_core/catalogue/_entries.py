"""Entries of the catalogue from the declarations in the registries."""

import json
from typing import Any, TypeVar

import pace_core.data
import pace_core.methods
import pace_core.regularizers
from pace_core.registry import Entry
from pace_core.spec.catalogue import MethodEntry, RegularizerEntry, SourceEntry

E = TypeVar("E")


def methods() -> list[MethodEntry]:
    """Lists the methods by name, the tuners of `peft` last."""
    declared = [*_sorted(pace_core.methods.entries()), *_sorted(pace_core.methods.peft_tuners())]
    return [
        MethodEntry(
            **_common(method),
            gives=sorted(method.gives),
            fits=sorted(method.fits),
            starts_pretrained=method.starts_pretrained,
            stages=list(method.stages),
            freezes_features=method.freezes_features,
        )
        for method in declared
    ]


def regularizers() -> list[RegularizerEntry]:
    """Lists the regularizers by name."""
    return [
        RegularizerEntry(
            **_common(regularizer),
            needs=sorted(regularizer.needs),
            reasons=dict(regularizer.reasons),
            passes=regularizer.passes,
            activation_factor=regularizer.activation_factor,
            mixes=regularizer.mixes,
        )
        for regularizer in _sorted(pace_core.regularizers.entries())
    ]


def sources() -> list[SourceEntry]:
    """Lists the data sources by name."""
    return [
        SourceEntry(**_common(source), phases=list(source.phases), gives=source.gives)
        for source in _sorted(pace_core.data.entries())
    ]


def _sorted(entries: dict[str, E]) -> list[E]:
    return [entries[name] for name in sorted(entries)]


def _common(entry: Entry[Any]) -> dict[str, Any]:
    assert entry.doc, f"the file of {entry.name} lacks a docstring"
    return {
        "name": entry.name,
        "title": entry.title,
        "summary": entry.doc.strip().splitlines()[0],
        "params": _plain(entry.params.model_json_schema(by_alias=True)),
        "paper": entry.paper,
    }


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
