"""Loading the networks without what a prediction never calls, for commands that are over in seconds."""

import gc
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_TORCHVISION = (
    "torchvision",
    *(f"torchvision.{name}" for name in ("datasets", "models", "ops", "transforms")),
    *(f"torchvision.{name}" for name in ("models.feature_extraction", "ops.misc", "transforms.functional")),
)


@contextmanager
def networks_only() -> Generator[None]:
    """Keeps timm from importing torch's compiler and torchvision, which take longer to load than all the rest of it.

    timm asks for a few of their names at import and calls none when a model predicts. Afterwards the names are free
    again, so that whoever does need them gets the real ones; what is loaded already stays. The garbage collector, which
    would walk all that is imported again and again, waits until the end.
    """
    absent: dict[str, ModuleType] = {}
    if _COMPILER not in sys.modules:
        absent[_COMPILER] = _Compiler(_COMPILER)
    if _TORCHVISION[0] not in sys.modules:
        absent |= {name: _Absent(name) for name in _TORCHVISION}
    collecting = gc.isenabled()
    gc.disable()
    sys.modules.update(absent)
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)
        if collecting:
            gc.enable()


class _Compiler(ModuleType):
    """Leaves functions as they are."""

    @staticmethod
    def disable(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
        return (lambda inner: inner) if function is None else function


class _Absent(ModuleType):
    """A module with a class of any name that begins as classes do, of which there are no instances."""

    def __getattr__(self, name: str) -> type:
        if not name[0].isupper():
            raise AttributeError(name)
        return _AnyMember(name, (), {})


class _AnyMember(type):
    """The type of a class that has every member, as of an enumeration."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name
