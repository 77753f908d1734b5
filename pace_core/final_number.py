"""The final number of a worked answer, which says whether a grade-school problem is solved."""

import re
from decimal import Decimal, InvalidOperation

_NUMBER = r"-?\s?\$?\s?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
_MARKED = re.compile(rf"####\s*({_NUMBER})")
_SAID = re.compile(rf"answer\s+is\s*:?\s*\**\s*({_NUMBER})", re.IGNORECASE)
_ANY = re.compile(_NUMBER)


def marked_number(reply: str) -> Decimal | None:
    """Returns the number behind the last `####`, as GSM8K's own answers have it."""
    return _last(_MARKED, reply)


def final_number(reply: str) -> Decimal | None:
    """Returns the number behind the last `####`, else behind the last `answer is`, else the last of all; None without.

    Commas between thousands, dollar signs and zeros behind the point change nothing: 1,234.0 is 1234.
    """
    for pattern in (_MARKED, _SAID, _ANY):
        found = _last(pattern, reply)
        if found is not None:
            return found
    return None


def _last(pattern: re.Pattern[str], reply: str) -> Decimal | None:
    found = pattern.findall(reply)
    if not found:
        return None
    try:
        return Decimal(re.sub(r"[\s$,]", "", found[-1]))
    except InvalidOperation:
        return None
