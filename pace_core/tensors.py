"""Tensors and what is to be known of them in one safetensors file; equal content gives equal bytes."""

import json
from collections.abc import Mapping
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

_KEY = "pace"  # one entry only: the format writes several in random order


def pack(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """A safetensors file with JSON facts in its header."""
    said = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, {_KEY: said})


def unpack(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts. Raises ValueError for bytes that `pack` did not make."""
    try:
        length = int.from_bytes(content[:8], "little")
        facts = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_KEY])
        return load(content), facts
    except Exception as error:  # the reader of a broken file raises whatever it stumbles over
        raise ValueError(f"no file of this project ({type(error).__name__}: {error})") from error
