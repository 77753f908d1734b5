"""Tensors and what is to be known of them in one safetensors file; equal content gives equal bytes."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pace_core.facts import KEY, facts_of


def pack(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """Returns a safetensors file with JSON facts in its header."""
    said = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, {KEY: said})


def unpack(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns tensors and facts. Raises ValueError for bytes that `pack` did not make, or not whole."""
    facts = facts_of(content)
    try:
        tensors = load(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a type of number that torch has not
        raise ValueError(f"its tensors cannot be read: {error}") from error
    if wrong := not_finite(tensors):
        raise ValueError(f"it holds values that are not finite numbers, in {wrong}")
    return tensors, facts


def not_finite(tensors: Mapping[str, Tensor], most: int = 5) -> str:
    """Returns the names of tensors that hold NaN or infinity, `most` of them and a count; empty where none does."""
    floats = {name: value for name, value in tensors.items() if value.is_floating_point()}
    names = [name for name, value in floats.items() if not bool(torch.isfinite(value.float()).all())]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
