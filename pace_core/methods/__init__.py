"""Methods, one per file: how a backbone is adapted. The tuners of HF `peft` are named `peft:<NAME>`."""

import sys
from importlib import import_module
from types import ModuleType

from pace_core import registry


def find(name: str) -> ModuleType:
    """Returns a method by its name. Raises KeyError for an unknown one."""
    return peft_tuners()[name] if name.startswith("peft:") else registry.load(sys.modules[__name__])[name]


def peft_tuners() -> dict[str, ModuleType]:
    """Returns the methods that wrap tuners of HF `peft`, by name. Loads `peft`, which takes seconds."""
    return import_module("pace_core.methods._peft").tuners()
