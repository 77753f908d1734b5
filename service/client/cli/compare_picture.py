"""A comparison as SVG: every run a dot, every mean a line with its standard error."""

import math
from collections.abc import Callable
from html import escape

from rich.cells import cell_len, set_cell_size

from service.client.comparison import Comparison, Row

_LEFT, _RIGHT, _TOP, _LINE, _PLOT = 16, 130, 58, 30, 420
_LETTER = 7.3  # width of a letter of the font at 13 px, on the safe side
_LONGEST = 60  # letters of a label


def picture(found: Comparison) -> str:
    """Draws the whole SVG, which needs no other file; percent along the bottom."""
    labels = [_short(row.label) for row in found.rows]
    left = _LEFT + math.ceil(max(cell_len(label) for label in labels) * _LETTER) + 14
    height = _TOP + _LINE * len(found.rows) + 44
    width = left + _PLOT + _RIGHT
    low, high, step = _axis(found.rows)

    def x(value: float) -> float:
        return round(left + _PLOT * (100 * value - low) / (high - low), 1)

    of = "validation" if found.phase == "search" else "test"
    metric = f"{of} {found.metric} in percent; dots: runs; bar: mean ± standard error"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13" role="img">',
        f"<title>{_text(found.task)}: {_text(metric)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="22" font-weight="bold" fill="#1f2328">{_text(_short(found.task))}</text>',
        f'<text x="{_LEFT}" y="41" fill="#59636e">{_text(metric)}</text>',
    ]
    bottom = _TOP + _LINE * len(found.rows)
    for index in range(round((high - low) / step) + 1):
        tick = low + index * step
        at = x(tick / 100)
        parts.append(f'<line x1="{at}" y1="{_TOP}" x2="{at}" y2="{bottom}" stroke="#e5e8eb"/>')
        parts.append(f'<text x="{at}" y="{bottom + 18}" text-anchor="middle" fill="#59636e">{tick:g}</text>')
    best = max(row.mean for row in found.rows)
    for index, (row, label) in enumerate(zip(found.rows, labels, strict=True)):
        parts += _row(row, label, x, left, _TOP + _LINE * index + _LINE // 2, bold=row.mean == best)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(row: Row, label: str, x: Callable[[float], float], left: int, y: int, bold: bool) -> list[str]:
    weight = ' font-weight="bold"' if bold else ""
    number = f"{100 * row.mean:.1f}" + (f" ± {100 * row.std:.1f}" if row.std is not None else "") + f" ({row.n})"
    error = row.standard_error or 0.0
    drawn = [f'<text x="{left - 14}" y="{y + 4}" text-anchor="end"{weight} fill="#1f2328">{_text(label)}</text>']
    drawn += [f'<circle cx="{x(v)}" cy="{y}" r="4" fill="#0969da" fill-opacity="0.45"/>' for v in row.values.values()]
    ends = x(row.mean - error), x(row.mean + error)
    drawn.append(f'<line x1="{ends[0]}" y1="{y}" x2="{ends[1]}" y2="{y}" stroke="#cf222e" stroke-width="2"/>')
    at = x(row.mean)
    drawn.append(f'<line x1="{at}" y1="{y - 9}" x2="{at}" y2="{y + 9}" stroke="#cf222e" stroke-width="2.5"/>')
    drawn.append(f'<text x="{left + _PLOT + 14}" y="{y + 4}"{weight} fill="#1f2328">{number}</text>')
    return drawn


def _axis(rows: list[Row]) -> tuple[float, float, float]:
    """Returns ends and step of the axis in percent: round numbers around every value."""
    values = [100 * value for row in rows for value in row.values.values()]
    values += [100 * (row.mean + sign * (row.standard_error or 0.0)) for row in rows for sign in (-1, 1)]
    span = max(max(values) - min(values), 1.0)
    step = next(size for size in (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200) if span / size <= 6)
    low, high = math.floor(min(values) / step) * step, math.ceil(max(values) / step) * step
    return low, high if high > low else low + step, step


def _short(label: str) -> str:
    return label if cell_len(label) <= _LONGEST else f"{set_cell_size(label, _LONGEST - 1)}…"


def _text(text: str) -> str:
    """Returns text of an XML document: escaped, without the control characters that XML has no form for."""
    return escape("".join(char if char.isprintable() else " " for char in text))
