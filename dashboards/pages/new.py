"""New jobs, studies and suites: forms made from the catalogue, checked as one types, planned before they are sent."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from dashboards import drafts
from dashboards.api import client_of
from dashboards.fields import id_of
from dashboards.navigation import Nav
from dashboards.rendering import render
from dashboards.session import form
from service.client import ProblemError
from service.client.paths import SpecError, read_spec_text

nav = Nav("New", "/new", 20)

_TITLES = {"job": "New job", "study": "New study", "suite": "New suite"}
_LANDS = {"job": "/jobs/{}", "study": "/studies/{}", "suite": "/jobs?suite={}"}
Faults = dict[str, str]


async def begin(request: Request) -> Response:
    """Leads to the form of a job, with what the address says of it."""
    return RedirectResponse(f"/new/job?{request.url.query}" if request.url.query else "/new/job")


async def fill(request: Request) -> Response:
    """Shows the form: empty, with what the address says, or with the settings of the job `from`."""
    typed = {name: value for name, value in request.query_params.items() if name.startswith("/")}
    if job := request.query_params.get("from"):
        found = await client_of(request).jobs.get(job)
        typed = {**drafts.typed_of(found.spec), "/row": found.row, "/name": found.name, **typed}
        typed = {pointer: text for pointer, text in typed.items() if text}
    return await _page(request, typed, {}, origin=job or "")


async def check(request: Request) -> Response:
    """Answers htmx with what is wrong with the draft, or what it would take; `fields` makes the form anew, too."""
    kind, typed = _kind(request), await _typed(request)
    known = await drafts.load(client_of(request))
    if typed.get("pasted"):
        try:
            typed = {**typed, **drafts.typed_of(read_spec_text(typed["pasted"])), "pasted": ""}
        except SpecError as error:
            return _anew(request, known, typed, {"": error.faults[0].message}, None)
    faults, plan = await _checked(request, kind, known, typed)
    if request.path_params["part"] != "fields":
        return _block(request, "checked", known, typed, faults, plan)
    return _anew(request, known, typed, faults, plan)


async def submit(request: Request) -> Response:
    """Submits the draft, once however often it is sent, and leads to what came of it."""
    kind, typed = _kind(request), await _typed(request)
    client, known = client_of(request), await drafts.load(client_of(request))
    once = (await form(request)).get("once", [""])[0][:100] or uuid4().hex
    nouns: dict[str, Any] = {"job": client.jobs, "study": client.studies, "suite": client.suites}
    try:
        asked = drafts.REQUESTS[kind].model_validate(drafts.request_of(kind, known, typed))
        made = await nouns[kind].submit(asked, once=once)
    except ValidationError as error:
        return await _page(request, typed, _of_model(error), once=once, status=422)
    except SpecError as error:
        return await _page(request, typed, {_placed(each.pointer): each.message for each in error.faults}, status=422)
    except ProblemError as error:
        # a key that stands for another request makes nothing any more: the form gets a new one
        once = uuid4().hex if error.code == "idempotency-key-reused" else once
        return await _page(request, typed, _of_problem(error), once=once, status=error.status)
    return RedirectResponse(_LANDS[kind].format(made.id), 303)


def _kind(request: Request) -> str:
    kind = request.path_params["kind"]
    if kind not in _TITLES:
        raise HTTPException(404)
    return kind


async def _checked(
    request: Request, kind: str, known: drafts.Catalogue, typed: Mapping[str, str]
) -> tuple[Faults, Any]:
    client = client_of(request)
    nouns: dict[str, Any] = {"job": client.jobs, "study": client.studies, "suite": client.suites}
    try:
        asked = drafts.REQUESTS[kind].model_validate(drafts.request_of(kind, known, typed))
        return {}, await nouns[kind].check(asked)
    except ValidationError as error:
        return _of_model(error), None
    except SpecError as error:
        return {_placed(each.pointer): each.message for each in error.faults}, None
    except ProblemError as error:
        if error.status >= 500:
            raise
        return _of_problem(error), None


def _of_model(error: ValidationError) -> Faults:
    return {"/" + "/".join(map(str, each["loc"])): each["msg"] for each in error.errors()}


def _of_problem(error: ProblemError) -> Faults:
    return {_placed(each.pointer): each.message for each in error.faults} or {"": error.detail}


def _placed(pointer: str) -> str:
    """The field of the form for a pointer into the request."""
    for part in ("/spec", "/overrides"):
        if pointer.startswith(f"{part}/"):
            return pointer.removeprefix(part)
    return pointer


async def _typed(request: Request) -> dict[str, str]:
    fields = await form(request)
    return {name: values[0].strip() for name, values in fields.items() if name.startswith("/") or name == "pasted"}


def _anew(request: Request, known: drafts.Catalogue, typed: Mapping[str, str], faults: Faults, plan: Any) -> Response:
    """The form's fields, with what is said of them."""
    made = bytes(_block(request, "fields", known, typed, faults, plan).body).decode()
    said = bytes(_block(request, "checked", known, typed, faults, plan, slotted=False).body).decode()
    return HTMLResponse(f'{made}<div id="checked" hx-swap-oob="innerHTML">{said}</div>')


def _block(
    request: Request,
    block: str,
    known: drafts.Catalogue,
    typed: Mapping[str, str],
    faults: Faults,
    plan: Any,
    slotted: bool = True,
) -> Response:
    shown = _shown(request, known, typed, faults)
    return render(request, "new.html", block=block, **shown, plan=plan, checked=True, slotted=slotted)


async def _page(
    request: Request, typed: Mapping[str, str], faults: Faults, *, once: str = "", origin: str = "", status: int = 200
) -> Response:
    known = await drafts.load(client_of(request))
    return render(
        request,
        "new.html",
        status=status,
        once=once or uuid4().hex,
        origin=origin,
        plan=None,
        checked=bool(faults),
        slotted=False,
        **_shown(request, known, typed, faults),
    )


def _shown(request: Request, known: drafts.Catalogue, typed: Mapping[str, str], faults: Faults) -> dict[str, Any]:
    kind = _kind(request)
    parts, general = drafts.sections(known, typed, faults), drafts.general(kind, typed, faults)
    beside = [field for part in parts for field in [*([part.choose] if part.choose else []), *part.fields]] + general
    pointers = {field.pointer for field in beside} | {"/recipe/name", "/recipe/row", "/recipe/task"}
    return {
        "kind": kind,
        "title": _TITLES[kind],
        "titles": [(title, f"/new/{name}") for name, title in _TITLES.items()],
        "known": known,
        "typed": typed,
        "faults": faults,
        "elsewhere": {pointer: said for pointer, said in faults.items() if pointer not in pointers},
        "sections": parts,
        "general": general,
        "slots": {pointer: (id_of(pointer), faults.get(pointer, "")) for pointer in sorted(pointers)},
        "link": f"/new/{kind}?"
        + urlencode({name: text for name, text in typed.items() if name.startswith("/") and text}),
    }


routes = [
    Route("/new", begin),
    Route("/new/{kind}", fill),
    Route("/new/{kind}", submit, methods=["POST"]),
    Route("/new/{kind}/{part}", check, methods=["POST"]),
]
