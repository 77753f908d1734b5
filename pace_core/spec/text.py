"""Text for people out of text that anybody may have written: one line of valid Unicode, not too long."""

import unicodedata
from typing import Any

LONGEST_NAME = 200
"""Characters of a name that tables and MLflow show."""


def shown(text: str, most: int = LONGEST_NAME) -> str:
    """Returns the text as `escaped` does; of one longer than `most` characters the middle is left out."""
    return escaped(f"{text[: most // 2]}…{text[-(most // 2) :]}" if len(text) > most else text)


def escaped(text: str) -> str:
    r"""Returns the text on one line of valid Unicode: `\n` for a line break, `\xfc` for a byte that is not UTF-8."""
    return text if text.isprintable() else "".join(_visible(character) for character in text)


def brief(value: Any) -> str:
    """Returns a value as a message quotes it."""
    try:
        return shown(repr(value), 100)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, a list nested thousands deep
        return f"a very large {type(value).__name__}"


def valid_unicode(text: str) -> str:
    r"""Returns the text with `\xfc` for a byte that is not UTF-8 and `\ud800` for half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(_whole(character) for character in text)
    return text


def is_one_line(text: str) -> bool:
    """Returns whether the text holds neither line breaks nor other control characters."""
    return not any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)


def _visible(character: str) -> str:
    return _whole(character) if is_one_line(character) else repr(character)[1:-1]


def _whole(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if 0xD800 <= code <= 0xDFFF else character
