"""Loading the networks without what a prediction never calls, for commands that are over in seconds."""

import gc
import importlib
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_TORCHVISION = (
    "torchvision",
    *(f"torchvision.{name}" for name in ("datasets", "models", "ops", "transforms")),
    *(f"torchvision.{name}" for name in ("models.feature_extraction", "ops.misc", "transforms.functional")),
)
NETWORKS = ("vision_transformer", "deit", "swin_transformer", "swin_transformer_v2")
"""The modules of timm's networks that can be adapted."""


@contextmanager
def networks_only() -> Generator[None]:
    """Keeps timm from importing torch's compiler, torchvision, its loading of data and its other hundred networks.

    They take longer to load than all the rest. timm asks for a few of their names at import and calls none when a model
    predicts; of the networks it then knows those of `NETWORKS` only. Afterwards the names are free again, so that
    whoever does need them gets the real ones; what is loaded already stays. The garbage collector, which would walk all
    that is imported again and again, waits until the end.
    """
    absent: dict[str, ModuleType] = {}
    if _COMPILER not in sys.modules:
        absent[_COMPILER] = _Compiler(_COMPILER)
    if _TORCHVISION[0] not in sys.modules:
        absent |= {name: _Absent(name) for name in _TORCHVISION}
    if "timm" not in sys.modules:
        absent |= _rest_of_timm()
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


def _rest_of_timm() -> dict[str, ModuleType]:
    spec = find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        return {}
    folder = Path(next(iter(spec.submodule_search_locations)))
    networks = {file.stem for file in (folder / "models").iterdir() if not file.name.startswith("_")}
    others = (f"timm.models.{name}" for name in networks.difference(NETWORKS))
    return {name: ModuleType(name) for name in others} | {"timm.data": _Constants("timm.data", folder / "data")}


class _Constants(ModuleType):
    """timm.data with nothing but its constants, such as the mean and std of ImageNet."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self.__path__ = [str(folder)]

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module("timm.data.constants"), name)


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
