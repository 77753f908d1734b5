"""Seeds and draws as options give them."""

import typer

MOST = 1000


def seeds_of(text: str, option: str = "--seeds") -> list[int]:
    """Reads `0,1,2` or `0-4`, or both. Raises typer.BadParameter."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))):
            raise typer.BadParameter(f"{option} {text}: must be whole numbers, such as 0,1,2 or 0-4")
        if dash and not 0 <= int(last) - int(first) < MOST:
            raise typer.BadParameter(f"{option} {text}: {part.strip()} is no range of at most {MOST:,} numbers")
        found += range(int(first), int(last if dash else first) + 1)
    return list(dict.fromkeys(found))
