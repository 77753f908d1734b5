"""A registry is a folder: every module in it without a leading underscore declares one entry."""

import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

from pace_core.spec import ParamsModel

P = TypeVar("P", bound=ParamsModel)


class Named(Protocol):
    """A declaration that is found by its name."""

    @property
    def name(self) -> str: ...


E = TypeVar("E", bound=Named)


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[P]):
    """Base class of the declarations of methods, regularizers and sources; each of the three adds fields."""

    name: str
    """As a spec names it."""
    title: str
    """As tables name it."""
    doc: str | None
    """The module's docstring; the catalogue shows its first line."""
    params: type[P]
    """The hyperparameters, with defaults and descriptions."""
    paper: str = ""
    """Source: authors, venue, arXiv number, and where in the paper."""


def load(folder: ModuleType, kind: type[E]) -> dict[str, E]:
    """Returns the declarations in a package such as `pace_core.methods`, by name.

    Raises ValueError when two files claim one name, TypeError for a file that does not declare exactly one entry.
    """
    return _load(folder.__name__, kind)


def find(folder: ModuleType, kind: type[E], name: str) -> E:
    """Returns the declaration of that name. Loads its file alone where the file is called so. Raises KeyError."""
    own = f"{folder.__name__}.{name}"
    if name.isidentifier() and not name.startswith("_") and importlib.util.find_spec(own):
        entry = _declared(importlib.import_module(own), kind)
        if entry.name == name:
            return entry
    return load(folder, kind)[name]


@cache
def _load(package: str, kind: type[Any]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    files: dict[str, str | None] = {}
    for module in _modules(package):
        entry = _declared(module, kind)
        if entry.name in entries:
            raise ValueError(f"{entry.name!r} is claimed by both {files[entry.name]} and {module.__file__}")
        entries[entry.name], files[entry.name] = entry, module.__file__
    return entries


def _declared(module: ModuleType, kind: type[E]) -> E:
    declared = [value for value in vars(module).values() if isinstance(value, kind)]
    if len(declared) != 1:
        raise TypeError(f"{module.__file__} declares {len(declared)} entries of type {kind.__name__}, not one")
    return declared[0]


def _modules(package: str) -> list[ModuleType]:
    folder = importlib.import_module(package)
    names = [module.name for module in pkgutil.iter_modules(folder.__path__) if not module.name.startswith("_")]
    return [importlib.import_module(f"{package}.{name}") for name in names]
