"""Methods, one per file: how a backbone is adapted. The tuners of HF `peft` are named `peft:<NAME>`."""

import sys
from importlib import import_module
from typing import Any

from pace_core import registry
from pace_core.methods._method import Method, all_decayed

__all__ = ["Method", "all_decayed", "entries", "find", "peft_tuners"]


def entries() -> dict[str, Method[Any]]:
    """Returns the methods that have a file here, by name."""
    return registry.load(sys.modules[__name__], Method)


def find(name: str) -> Method[Any]:
    """Returns a method by its name. Raises KeyError for an unknown one."""
    if name.startswith("peft:"):
        return peft_tuners()[name]
    return registry.find(sys.modules[__name__], Method, name)


def peft_tuners() -> dict[str, Method[Any]]:
    """Returns the methods that wrap tuners of HF `peft`, by name. Loads `peft`, which takes seconds."""
    return import_module("pace_core.methods._peft").tuners()
