"""Comparison of two specs by what decides a run's result."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pace_core.spec.run_spec import RunSpec
from pace_core.spec.spec_file import is_path_field
from pace_core.spec.text import brief

_NONE = object()


def decisive(spec: RunSpec) -> dict[str, Any]:
    """Returns what of a spec a run that goes on must have in common with its beginning.

    Left out is what changes no result, and where data and weights lie: their hashes are compared instead.
    """
    return decisive_of(spec.json_dict())


def decisive_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the same of a spec that was stored as JSON; sections that it lacks are left out."""
    ignored = {"training": ("checkpoint_every_steps", "diagnostics", "recompute"), "backbone": ("weights",)}
    return {
        name: {
            key: value
            for key, value in cast(Mapping[str, Any], section).items()
            if key not in ignored.get(name, ()) and not (name == "task" and is_path_field(key))
        }
        if isinstance(section, Mapping)
        else section
        for name, section in stored.items()
        if name != "resources"
    }


def differences(was: Any, now: Any, most: int = 5) -> str:
    """Returns where two specs differ, such as `training.epochs was 3 and is now 5`; empty where they are equal."""
    flat_was, flat_now = dict(_fields(was, "")), dict(_fields(now, ""))
    names = [name for name in {**flat_was, **flat_now} if flat_was.get(name, _NONE) != flat_now.get(name, _NONE)]
    said = [f"{n} was {_brief(flat_was, n)} and is now {_brief(flat_now, n)}" for n in names[:most]]
    return "; ".join(said) + (f" and {len(names) - most} more fields" if len(names) > most else "")


def _fields(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in cast(Mapping[str, Any], value).items():
            yield from _fields(inner, f"{name}.{key}".lstrip("."))
    else:
        yield name, value


def _brief(fields: Mapping[str, Any], name: str) -> str:
    return brief(fields[name]) if name in fields else "absent"
