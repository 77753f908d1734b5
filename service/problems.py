"""Everything that can go wrong because of a caller, as RFC 9457 problem documents."""

from collections.abc import Callable
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from pace_core.spec import Fault, SpecError

_log = structlog.get_logger()
_MEDIA = "application/problem+json"


_AWAY = frozenset({"25006", "25P03"})
_CROSSED = frozenset({"23503", "23505"})  # what is named is gone meanwhile, or there by now
"""Codes of Postgres that are no fault of ours: a server that only reads, as a standby does before it takes over, and a
transaction that it ended because nothing was asked in it for long."""


class FaultView(BaseModel):
    """One fault of a request."""

    pointer: str
    """JSON pointer into the body; `?name` for a query parameter, `name:` for a header."""
    code: str
    message: str


class ProblemView(BaseModel):
    """The body of every error (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    """Stable; resolves to a page that explains it."""
    title: str
    status: int
    detail: str
    errors: list[FaultView]
    """All faults at once; empty where the fault is in no field."""


class Problem(Exception):
    """Base of every error that a caller can cause. A subclass says status, type and title once."""

    status = 400
    type = "bad-request"
    title = "The request cannot be served"

    def __init__(
        self, detail: str, faults: list[Fault] | None = None, *, retry_after_s: int | None = None, **more: Any
    ) -> None:
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.faults = faults or []
        self.more = more
        super().__init__(detail)


class Unauthorized(Problem):
    status, type, title = 401, "unauthorized", "No valid API key"


class Forbidden(Problem):
    status, type, title = 403, "forbidden", "The key may not do this"


class NotFound(Problem):
    status, type, title = 404, "not-found", "There is no such thing"


class Conflict(Problem):
    status, type, title = 409, "conflict", "The state of what it concerns does not allow this"


class LeaseFenced(Problem):
    status, type, title = 409, "lease-fenced", "The attempt is no longer the job's current one"


class WrongProtocol(Problem):
    status, type, title = 409, "wrong-protocol", "Worker and service do not understand each other"


class CursorHeld(Problem):
    status, type, title = 409, "cursor-held", "Another process reads here"


class ReportGap(Problem):
    status, type, title = 409, "report-gap", "Events are missing before the first new one"


class ClusterTaken(Problem):
    status, type, title = 409, "cluster-taken", "Another dispatcher serves the cluster"


class StorageUnreachable(Problem):
    status, type, title = 409, "storage-unreachable", "The node does not reach the service's storage"


class TooLarge(Problem):
    status, type, title = 413, "too-large", "The request is too large"


class RangeNotSatisfiable(Problem):
    status, type, title = 416, "range-not-satisfiable", "The file has no such range"


class Invalid(Problem):
    status, type, title = 422, "invalid", "The request has faults"


class KeyReused(Problem):
    status, type, title = 422, "idempotency-key-reused", "The Idempotency-Key came with another body before"


class TooMany(Problem):
    status, type, title = 429, "too-many", "The project has as much as it may"

    def __init__(self, detail: str, *, retry_after_s: int = 60) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class Unavailable(Problem):
    status, type, title = 503, "unavailable", "The service cannot answer now"


_TYPES: dict[str, type[Problem]] = {cls.type: cls for cls in Problem.__subclasses__()} | {Problem.type: Problem}

RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem document",
        "content": {_MEDIA: {"schema": {"$ref": "#/components/schemas/ProblemView"}}},
    }
}
"""For OpenAPI: what every endpoint may answer."""


def install(app: FastAPI, allowed: Callable[[str], list[str]]) -> None:
    """Makes every error of the app a problem document; `allowed` gives the methods of a path."""

    async def problem(_: Request, error: Exception) -> JSONResponse:
        return answer(cast(Problem, error))

    async def spec_error(_: Request, error: Exception) -> JSONResponse:
        return answer(Invalid("the spec has faults", cast(SpecError, error).faults))

    async def validation(_: Request, error: Exception) -> JSONResponse:
        faults = [_fault(item) for item in cast(RequestValidationError, error).errors()]
        return answer(Invalid("the request has faults", faults))

    async def unstorable(_: Request, error: Exception) -> JSONResponse:
        return answer(Invalid(f"the request holds what cannot be stored ({_first_line(error)}); leave it out"))

    async def away(request: Request, error: Exception) -> JSONResponse:
        if _state(error).startswith("54"):  # longer than a row or an index has room for: another try does not mend it
            return await unstorable(request, error)
        _log.warning("the database does not answer", error=_first_line(error))
        problem = Unavailable("the database does not answer; send the request again in a few seconds", retry_after_s=2)
        return answer(problem)

    async def inside(request: Request, error: Exception) -> JSONResponse:
        if _state(error) in _AWAY:
            return await away(request, error)
        raise error

    async def crossed(_: Request, error: Exception) -> JSONResponse:
        if _state(error) not in _CROSSED:
            raise error
        _log.info("two requests crossed", error=_first_line(error))
        return answer(Conflict("somebody else made or removed the same at this moment; look, and send it again"))

    async def http(request: Request, error: Exception) -> JSONResponse:
        error = cast(HTTPException, error)
        for kind in (Unauthorized, TooLarge):
            if error.status_code == kind.status:
                return answer(kind(error.detail))
        if error.status_code == 400:  # what no parser could take in, such as nesting beyond all bounds
            return answer(Invalid(f"the request cannot be read: {error.detail}"))
        document = _blank(error.status_code, error.detail, error.detail)
        headers = dict(error.headers or {})
        if error.status_code == 405:  # the router names the methods of one route only
            headers["Allow"] = ", ".join(allowed(request.url.path))
        return JSONResponse(document, error.status_code, headers=headers, media_type=_MEDIA)

    async def bug(request: Request, _: Exception) -> JSONResponse:
        detail = "a fault of the service; its log has more under this request's id"
        document = _blank(500, "Internal error", detail)
        request_id = getattr(request.state, "request_id", None)
        return JSONResponse({**document, "request_id": request_id}, 500, media_type=_MEDIA)

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(SpecError, spec_error)
    app.add_exception_handler(RequestValidationError, validation)
    # NUL or half a surrogate pair in a text, a number or nesting beyond all bounds
    for kind in (DataError, UnicodeEncodeError, RecursionError, OverflowError):
        app.add_exception_handler(kind, unstorable)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, away)
    app.add_exception_handler(InternalError, inside)
    app.add_exception_handler(IntegrityError, crossed)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, bug)

    @app.get("/problems/{name}", tags=["meta"], summary="What a problem type means")
    async def explain(name: str) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        if name not in _TYPES:
            raise NotFound(f"there is no problem type {name!r}")
        return {"type": f"/problems/{name}", "title": _TYPES[name].title, "status": _TYPES[name].status}


def _state(error: Exception) -> str:
    """Postgres's code of the error; empty where it has none."""
    return getattr(error.orig, "sqlstate", None) or "" if isinstance(error, DBAPIError) else ""


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause).splitlines()[0]


def _blank(status: int, title: str, detail: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, "errors": []}


def answer(error: Problem) -> JSONResponse:
    """Returns the problem document."""
    document = {
        "type": f"/problems/{error.type}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "errors": [fault.model_dump() for fault in error.faults],
        **error.more,
    }
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return JSONResponse(document, error.status, headers=headers, media_type=_MEDIA)


def _fault(item: dict[str, Any]) -> Fault:
    where, *path = [str(part) for part in item["loc"]]
    if item["type"] == "json_invalid":
        message = f"the body is not JSON: {item['ctx']['error']}, at character {path[0]}"
        return Fault(pointer="", code="wrong_type", message=message)
    if (where, path) == ("body", []) and item["type"].endswith("_type"):
        message = "the body must be a JSON object, sent with `Content-Type: application/json`"
        return Fault(pointer="", code="wrong_type", message=message)
    pointer = {"query": "?", "header": "header ", "path": "path "}.get(where, "") + "/".join(
        ["", *path] if where == "body" else path
    )
    kinds = {"extra_forbidden": "unknown_key", "missing": "missing"}
    code = kinds.get(item["type"], "wrong_type" if item["type"].endswith(("_type", "_parsing")) else "out_of_range")
    return Fault(pointer=pointer, code=code, message=item["msg"])
