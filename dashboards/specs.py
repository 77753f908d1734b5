"""Specs as people compare them: fields by their dotted names."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class Change(NamedTuple):
    """A field of which several specs say different things; None where one does not have it."""

    field: str
    values: list[Any]


def changes(*specs: Mapping[str, Any], besides: Sequence[str] = ()) -> list[Change]:
    """Returns the fields of which the specs say different things, but for those that begin as `besides` says."""
    flat = [dict(_fields(spec)) for spec in specs]
    names = dict.fromkeys(name for fields in flat for name in fields)
    return [
        Change(name, [fields.get(name) for fields in flat])
        for name in sorted(names)
        if not name.startswith(tuple(besides)) and any(fields.get(name) != flat[0].get(name) for fields in flat)
    ]


def _fields(spec: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in spec.items():
        if isinstance(value, Mapping) and value:
            yield from _fields(value, f"{above}{name}.")
        else:
            yield above + name, value
