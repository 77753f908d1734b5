"""Pages out of templates, and how they write numbers, times and states."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from dashboards.assets import address
from dashboards.navigation import Nav

_HERE = Path(__file__).parent


def render(
    request: Request, template: str, *, status: int = 200, block: str | None = None, **more: Any
) -> HTMLResponse:
    """Returns the page that `template` makes of `more`; with `block` that block of it alone, for htmx to put in place.

    Templates also know `own` (the key of who is signed in, None for a visitor), `csrf` and `path`.
    """
    known = {
        "own": getattr(request.state, "own", None),
        "csrf": getattr(request.state, "csrf", ""),
        "path": request.url.path,
        **more,
    }
    page = _environment.get_template(template)
    if block is None:
        return HTMLResponse(page.render(known), status)
    context = page.new_context(known)
    return HTMLResponse("".join(page.blocks[block](context)), status)


def navigate(entries: list[Nav]) -> None:
    """Gives every page this navigation."""
    _environment.globals["nav"] = sorted(entries, key=lambda entry: entry.place)


def ago(at: datetime | None) -> str:
    """Writes how long ago that was."""
    return "" if at is None else f"{duration((datetime.now(UTC) - at).total_seconds())} ago"


def until(at: datetime | None) -> str:
    """Writes how long it is until then."""
    return "" if at is None else duration((at - datetime.now(UTC)).total_seconds())


def duration(seconds: float | None) -> str:
    """Writes seconds in the two largest units: `3 s`, `4 min 05 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s" if whole < 600 else f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def percent(fraction: float | None, digits: int = 1) -> str:
    """Writes a fraction as a percentage without its sign."""
    return "" if fraction is None else f"{100 * fraction:.{digits}f}"


def signed(fraction: float | None, digits: int = 1) -> str:
    """Writes a difference of fractions in points, with its sign."""
    return "" if fraction is None else f"{100 * fraction:+.{digits}f}".replace("-", "−")


def measure(value: Any) -> str:
    """Writes a number in four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def size(count: int | None) -> str:
    """Writes a number of bytes."""
    value = float(count or 0)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def when(at: datetime | None) -> Markup:
    """Writes a moment as how long ago it was, with the moment itself for whoever points at it."""
    if at is None:
        return Markup("")
    exact = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(at.isoformat(), exact, ago(at))


def query(**fields: Any) -> str:
    """Writes `?a=b&…` of what is given; lists give a field several times, empty ones are left out."""
    given = {name: value for name, value in fields.items() if value not in (None, "", [], ())}
    return f"?{urlencode(given, doseq=True)}" if given else ""


def as_json(value: Any) -> Markup:
    """Writes JSON that can stand within a `<script type="application/json">`: nothing in it ends the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


_environment = Environment(
    loader=FileSystemLoader([_HERE / "templates", _HERE / "pages"]),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "ago": ago,
    "until": until,
    "duration": duration,
    "percent": percent,
    "signed": signed,
    "size": size,
    "measure": measure,
    "when": when,
    "as_json": as_json,
    "path": lambda text: quote(str(text), safe=""),
}
_environment.globals |= {"query": query, "asset": address}
# known everywhere as `ui`: a block that is rendered alone sees no imports of its template
_environment.globals["ui"] = _environment.get_template("macros.html").module
