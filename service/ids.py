"""Ids that begin with what they name and sort by when they were made."""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


def new_id(prefix: str) -> str:
    """Makes `prefix_` and 26 characters: 48 bits of Unix milliseconds, 80 random bits, as in a ULID."""
    return new_ids(prefix, 1)[0]


def new_ids(prefix: str, count: int) -> list[str]:
    """Makes so many at once, which sort in their order."""
    first = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(79)
    return [f"{prefix}_{_letters(first + index)}" for index in range(count)]


def _letters(value: int) -> str:
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))
