"""The pages as one ASGI app."""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from dashboards import pages
from dashboards.assets import assets
from dashboards.headers import SafeHeaders
from dashboards.rendering import navigate, render
from dashboards.session import SignedIn
from service.client import NoService, ProblemError


def pages_app(api: ASGIApp) -> Starlette:
    """Creates the pages over that API: every module of `dashboards.pages`, and what they load."""
    modules = _modules()
    navigate([module.nav for module in modules if hasattr(module, "nav")])
    answers: dict[Any, Any] = {ProblemError: _refused, NoService: _away, HTTPException: _http}
    app = Starlette(
        routes=[*assets(), *(route for module in modules for route in module.routes)],
        # what goes wrong while it is looked up who is signed in is answered with a page too
        middleware=[
            Middleware(SafeHeaders),
            Middleware(ExceptionMiddleware, handlers=answers),
            Middleware(SignedIn, api=api),
        ],
        exception_handlers={**answers, Exception: _bug},
    )
    app.state.api = api
    return app


def _modules() -> list[ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(pages.__path__))
    return [importlib.import_module(f"{pages.__name__}.{name}") for name in names if not name.startswith("_")]


def _said(request: Request, status: int, title: str, detail: str) -> HTMLResponse:
    return render(request, "error.html", status=status, title=title, detail=detail)


async def _refused(request: Request, error: ProblemError) -> Response:
    titles = {403: "Your key may not do this", 404: "There is no such thing", 409: "This cannot be done now"}
    return _said(request, error.status, titles.get(error.status, "The service refused this"), str(error))


async def _away(request: Request, error: NoService) -> Response:
    return _said(request, 503, "The service does not answer", "Try again in a few seconds.")


async def _http(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:
        detail = "The address may be mistyped, or what it named was deleted."
        return _said(request, 404, "There is no such page", detail)
    return _said(request, error.status_code, error.detail, "Nothing was changed. Go back, and try it another way.")


async def _bug(request: Request, error: Exception) -> Response:
    return _said(
        request, 500, "A fault of ours", "The service's log has more. Nothing was changed by opening this page."
    )
