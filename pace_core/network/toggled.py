"""Changes to the modules of a user's network that are in force for one step at a time."""

import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from torch import nn

from pace_core.spec import RunError

_ABSENT = object()


class Toggled:
    """Changes that `change` makes to a network (classes, attributes, hooks, submodules), to be switched on and off.

    While it is off the network is exactly its user's: it can be trained without us, saved, copied, pickled. Parameters
    and buffers are not recorded, `change` must leave them alone.
    """

    def __init__(self, network: nn.Module, change: Callable[[], None], around: Iterable[nn.Module] = ()) -> None:
        """Runs `change` and takes it back, also where it raises. around: modules outside the network that it changes.

        What an interrupted step has left on the network is taken off first.
        """
        self._network = network
        if (other := _on(network)) is not None:
            other.take_off()
        modules = list(dict.fromkeys([*around, *network.modules()]))
        kinds, entries = [type(module) for module in modules], _entries(modules)
        try:
            change()
        finally:
            self._kinds = [
                (module, before, type(module))
                for module, before in zip(modules, kinds, strict=True)
                if type(module) is not before
            ]
            self._changes = _differences(entries, _entries(modules))
            self.take_off()

    def put_on(self) -> None:
        """Raises RunError `spec_invalid` where the network is no longer as it was, or is under another change."""
        if _on(self._network) is not None:
            raise RunError("spec_invalid", "model: two regularizers follow it in the same step; keep one of them")
        same = all(type(module) is before for module, before, _ in self._kinds)
        if not same or any(holder.get(key, _ABSENT) is not before for holder, key, before, _ in self._changes):
            message = "its modules were changed after PACE was attached; attach it again (`regularize`, `train`)"
            raise RunError("spec_invalid", f"model: {message}")
        self._set(on=True)
        _in_force[self._network] = weakref.ref(self)

    def take_off(self) -> None:
        """Makes the network its user's again; does nothing where it is."""
        self._set(on=False)
        if _on(self._network) is self:
            del _in_force[self._network]

    def _set(self, on: bool) -> None:
        for module, before, after in self._kinds:
            module.__class__ = after if on else before
        for holder, key, before, after in self._changes:
            value = after if on else before
            if value is _ABSENT:
                holder.pop(key, None)
            else:
                holder[key] = value


Entries = dict[tuple[int, Any], tuple[dict[Any, Any], Any, Any]]
_in_force: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Toggled]] = weakref.WeakKeyDictionary()


def _on(network: nn.Module) -> Toggled | None:
    """The change that is in force on a network."""
    with suppress(KeyError):
        return _in_force[network]()
    return None


def _entries(modules: Iterable[nn.Module]) -> Entries:
    """(holder, key, value) of every attribute, and of every entry of a dictionary such as that of the hooks."""
    found: Entries = {}
    for module in modules:
        attributes = vars(module)
        for name, value in attributes.items():
            if not isinstance(value, dict):
                found[id(attributes), name] = attributes, name, value
            elif name not in ("_parameters", "_buffers"):
                found |= {(id(value), key): (value, key, entry) for key, entry in value.items()}
    return found


def _differences(before: Entries, after: Entries) -> list[tuple[dict[Any, Any], Any, Any, Any]]:
    """(holder, key, value before, value after) where these are not the same object."""
    changes: list[tuple[dict[Any, Any], Any, Any, Any]] = []
    for place in dict.fromkeys([*before, *after]):
        holder, key, _ = after.get(place) or before[place]
        old, new = (entries[place][2] if place in entries else _ABSENT for entries in (before, after))
        if old is not new:
            changes.append((holder, key, old, new))
    return changes
