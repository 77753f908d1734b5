"""A registry is a folder: every module in it without a leading underscore is an entry."""

import importlib
import pkgutil
from functools import cache
from types import ModuleType


def load(folder: ModuleType) -> dict[str, ModuleType]:
    """The entries of a package such as `pace_core.methods`, by NAME (the file's name where none is given).

    Raises ValueError when two files claim one name.
    """
    return _entries(folder.__name__)


@cache
def _entries(package: str) -> dict[str, ModuleType]:
    folder = importlib.import_module(package)
    entries: dict[str, ModuleType] = {}
    for found in pkgutil.iter_modules(folder.__path__):
        if found.name.startswith("_"):
            continue
        module = importlib.import_module(f"{folder.__name__}.{found.name}")
        name = getattr(module, "NAME", found.name)
        if name in entries:
            raise ValueError(f"{name!r} is claimed by both {entries[name].__file__} and {module.__file__}")
        entries[name] = module
    return entries
