"""Files that pages load: our stylesheet and scripts, htmx, and Plotly.js out of Plotly's Python package."""

import asyncio
import gzip
import importlib.util
from functools import cache
from hashlib import sha256
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_HERE = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"


def assets() -> list[BaseRoute]:
    """Returns the route of files. Their addresses hold a digest, so that browsers may keep them for good."""
    return [Route("/static/{digest}/{name}", _file)]


def address(name: str) -> str:
    """Returns the path of that file for templates."""
    return f"/static/{_digest(name)}/{name}"


async def _file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _files():
        raise HTTPException(404)
    kept = request.path_params["digest"] == _digest(name)
    headers = {"Vary": "Accept-Encoding", "Cache-Control": _FOR_EVER if kept else "no-cache"}
    content = _files()[name].read_bytes()
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = await asyncio.to_thread(_packed, name)
        headers["Content-Encoding"] = "gzip"
    return Response(content, headers=headers, media_type=_TYPES[Path(name).suffix])


@cache
def _files() -> dict[str, Path]:
    found = {file.name: file for file in _HERE.iterdir() if file.suffix in _TYPES}
    plotly = importlib.util.find_spec("plotly")  # found, not imported: it takes long
    if plotly and plotly.origin:
        found["plotly.min.js"] = Path(plotly.origin).parent / "package_data" / "plotly.min.js"
    return found


@cache
def _digest(name: str) -> str:
    return sha256(_files()[name].read_bytes()).hexdigest()[:12]


@cache
def _packed(name: str) -> bytes:
    return gzip.compress(_files()[name].read_bytes(), 6)
