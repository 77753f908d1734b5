"""Loading the networks without torch's compiler, for commands that are over in seconds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def without_compiler() -> Iterator[None]:
    """Keeps torchvision and timm from importing torch's compiler, which takes longer to load than all the rest.

    They ask for two of its functions at import and call neither when a model predicts. Afterwards the name is free
    again, so that whoever does need the compiler gets the real one. Does nothing where it is loaded already.
    """
    names = ("torch._dynamo", "torch._dynamo.utils")
    if names[0] in sys.modules:
        yield
        return
    compiler, utils = (_StandIn(name) for name in names)
    compiler.utils = utils
    compiler.disable = _disable
    utils.is_compile_supported = lambda device: False
    sys.modules.update(zip(names, (compiler, utils), strict=True))
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


class _StandIn(ModuleType):
    disable: Callable[..., Any]
    is_compile_supported: Callable[[str], bool]
    utils: ModuleType


def _disable(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    return (lambda inner: inner) if function is None else function
