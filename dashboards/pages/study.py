"""One study: what it found out so far, its trials with their jobs, and what may be done with it."""

import asyncio
import json

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dashboards.api import client_of
from dashboards.pages._study_figures import best_first, figures
from dashboards.rendering import render
from dashboards.session import form
from service.client import ProblemError, StudyExtension

_TRIALS = 50
"""So many are listed, the best; all of them are in the drawings."""
_VERBS = ("pause", "resume", "cancel", "retry")


async def study(request: Request, *, fault: str = "", status: int = 200) -> Response:
    """Shows the page; asked by htmx, what of it changes while the study runs."""
    client, name = client_of(request), request.path_params["study"]
    found, report = await asyncio.gather(client.studies.get(name), client.studies.report(name))
    return render(
        request,
        "study.html",
        status=status,
        block="now" if request.headers.get("hx-request") else None,
        study=found,
        report=report,
        figures=figures(report),
        trials=best_first(report)[:_TRIALS],
        ended=found.state in ("succeeded", "failed", "cancelled"),
        fault=fault,
        given={name: values[0] for name, values in (await form(request)).items()} if fault else {},
    )


async def act(request: Request) -> Response:
    """Pauses, resumes, cancels or retries the study."""
    name, verb = request.path_params["study"], request.path_params["verb"]
    if verb not in _VERBS:
        raise HTTPException(404)
    try:
        await getattr(client_of(request).studies, verb)(name)
    except ProblemError as error:
        if error.status == 404:
            raise
        return await study(request, fault=str(error), status=error.status)
    return RedirectResponse(f"/studies/{name}", 303)


async def extend(request: Request) -> Response:
    """Lets the study search more."""
    name = request.path_params["study"]
    try:
        more = _extension({field: values[0].strip() for field, values in (await form(request)).items()})
        await client_of(request).studies.extend(name, more)
    except ValidationError as error:
        said = "\n".join(f"{'.'.join(map(str, at['loc']))}: {at['msg']}" for at in error.errors())
        return await study(request, fault=said, status=422)
    except ValueError as error:
        return await study(request, fault=str(error), status=422)
    except ProblemError as error:
        if error.status == 404:
            raise
        return await study(request, fault=str(error), status=error.status)
    return RedirectResponse(f"/studies/{name}", 303)


def _extension(given: dict[str, str]) -> StudyExtension:
    """Raises ValueError with what is wrong with a field."""
    asked: dict[str, object] = {}
    if text := given.get("trials"):
        asked["trials"] = _number("More trials", text)
    budget = {field: _number(field.capitalize(), text) for field in ("epochs", "hours") if (text := given.get(field))}
    if budget:
        asked["budget"] = budget
    if text := given.get("space"):
        try:
            asked["space"] = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError('Wider values: JSON, such as {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}') from None
    if not asked:
        raise ValueError("Say what more to search: trials, wider values or another budget.")
    return StudyExtension.model_validate(asked)


def _number(title: str, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{title}: {text[:40]!r} is no number") from None


routes = [
    Route("/studies/{study}", study),
    Route("/studies/{study}/extend", extend, methods=["POST"]),
    Route("/studies/{study}/{verb}", act, methods=["POST"]),
]
