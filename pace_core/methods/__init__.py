"""How a backbone is adapted: one file a method; HF `peft`'s tuners are `peft:<NAME>`."""

import sys
from importlib import import_module
from types import ModuleType

from pace_core import registry


def find(name: str) -> ModuleType:
    """A method by its name. Raises KeyError for one that there is not."""
    if name.startswith("peft:"):
        return import_module("pace_core.methods._peft").tuners()[name]
    return registry.load(sys.modules[__name__])[name]
