"""Ids that begin with what they name and sort by when they were made."""

import base64
import secrets
import time

# from the alphabet of RFC 4648 to Crockford's, which sorts by value and has no i, l, o, u
_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghjkmnpqrstvwxyz")


def new_id(prefix: str) -> str:
    """Makes `prefix_` and 26 characters: 48 bits of Unix milliseconds, 80 random bits, as in a ULID."""
    return new_ids(prefix, 1)[0]


def new_ids(prefix: str, count: int) -> list[str]:
    """Makes so many at once, which sort in their order."""
    first = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(79)
    return [f"{prefix}_{_letters(first + index)}" for index in range(count)]


def _letters(value: int) -> str:
    return base64.b32encode(value.to_bytes(20, "big"))[-26:].translate(_CROCKFORD).decode()
