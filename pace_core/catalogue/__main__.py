"""Writes the catalogue from the registries: `make catalogue`."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from pace_core.catalogue import _backbones, _entries

_FOLDER = Path(__file__).parent
_KINDS: Mapping[str, Callable[[], Sequence[BaseModel]]] = {
    "methods": _entries.methods,
    "regularizers": _entries.regularizers,
    "sources": _entries.sources,
    "backbones": _backbones.backbones,
}


def generate() -> dict[str, str]:
    """Returns the content of every file of the catalogue by file name; equal registries give equal bytes."""
    return {
        f"{kind}.json": json.dumps([entry.model_dump(mode="json") for entry in entries()], indent=1, ensure_ascii=False)
        + "\n"
        for kind, entries in _KINDS.items()
    }


def main() -> None:
    for name, content in generate().items():
        (_FOLDER / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
