"""Classes of ours put in front of the classes of modules that somebody else made."""

from functools import cache
from types import new_class
from typing import Any

from torch import nn


def put_before(module: nn.Module, role: type[nn.Module], **attributes: Any) -> None:
    """Makes the module an instance of `role` too, in place, and gives it the attributes that the role reads.

    Python looks methods up in the role first and then in the module's own class, which `super()` in the role reaches.
    The module keeps its identity, parameters, hooks and training mode, so nothing that refers to it notices, and
    setting `__class__` and the attributes back undoes it (`Toggled`). Wrapping the module instead would rename its
    parameters. The joined class exists only in this process, so the module cannot be pickled while it has it.
    """
    if not isinstance(module, role):
        module.__class__ = _joined(role, type(module))
    for name, value in attributes.items():
        setattr(module, name, value)


@cache
def _joined(role: type[nn.Module], base: type[nn.Module]) -> type[nn.Module]:
    return new_class(base.__name__, (role, base))
