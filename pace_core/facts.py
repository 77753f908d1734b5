"""Metadata of our safetensors files, read from its header alone; loads no torch."""

import json
from typing import Any

KEY = "pace"
"""The one entry of the header's metadata: the format writes several in random order."""
LONGEST_HEADER = 100_000_000
"""Bytes, as the format's own readers allow."""


def facts_of(content: bytes) -> dict[str, Any]:
    """Returns the facts in the header of a file's content. Raises ValueError for a file that is none of ours."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, LONGEST_HEADER):
        raise ValueError(f"it is not a safetensors file, or it was cut off: {len(content):,} bytes")
    try:
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_each_once)
        facts = json.loads(header["__metadata__"][KEY])
    except KeyError as error:
        raise ValueError("it is a safetensors file that this product did not write") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its header is broken: {error}") from error
    if not isinstance(facts, dict):
        raise ValueError("its header is broken: it holds no metadata")
    return facts


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a tensor appears twice")
    return found
