"""Drafts of jobs, studies and suites: what a form about a spec has in it, and the request that comes of it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from dashboards.fields import Field, Schema, field_of, fields_of, read, written
from service.client import AsyncClient, JobRequest, StudyRequest, SuiteRequest

REQUESTS: dict[str, type[JobRequest] | type[StudyRequest] | type[SuiteRequest]] = {
    "job": JobRequest,
    "study": StudyRequest,
    "suite": SuiteRequest,
}
_CHOSEN = {"task": "sources", "backbone": "backbones", "method": "methods", "regularizer": "regularizers"}
_SECTIONS = ("task", "method", "regularizer", "optimizer", "training", "backbone", "resources")
_MADE_OF_SECTIONS = ("spec", "overrides")
_INIT_FROM: Schema = {"type": "string", "description": "Id of the job whose adapter to start from, instead of anew."}


class Section(NamedTuple):
    """A section of a spec in the form."""

    name: str
    about: str
    choose: Field | None
    """Of what it is: the method, the backbone."""
    fields: list[Field]
    open: bool
    """Whether anything in it was typed, or is wrong."""


class Catalogue(NamedTuple):
    """All that forms are made from."""

    entries: dict[str, dict[str, dict[str, Any]]]
    """Kind → name → entry."""
    tasks: list[str]
    rows: dict[str, list[str]]
    """Recipe → its rows."""
    recipe_tasks: dict[str, list[str]]


async def load(client: AsyncClient) -> Catalogue:
    """Returns the service's catalogue."""
    kinds = ("methods", "regularizers", "sources", "backbones", "sections", "benchmarks", "recipes")
    entries = {kind: {entry["name"]: entry for entry in await client.catalogue(kind)} for kind in kinds}
    of = {name: [task["name"] for task in entry["tasks"]] for name, entry in entries["benchmarks"].items()}
    recipes = entries["recipes"].values()
    return Catalogue(
        entries=entries,
        tasks=[f"{name}/{task}" for name, tasks in of.items() for task in tasks],
        rows={recipe["name"]: [row["label"] for row in recipe["rows"]] for recipe in recipes},
        recipe_tasks={recipe["name"]: of.get(recipe["benchmark"], []) for recipe in recipes},
    )


def sections(known: Catalogue, typed: Mapping[str, str], faults: Mapping[str, str]) -> list[Section]:
    """Returns the form's sections for what is chosen so far."""
    found: list[Section] = []
    for name in _SECTIONS:
        choose = _choose(known, name, typed, faults)
        fields = [
            field for schema in _schemas(known, name, typed) for field in fields_of(schema, f"/{name}", typed, faults)
        ]
        fields = list(
            {field.pointer: field for field in fields if choose is None or field.pointer != choose.pointer}.values()
        )
        about = known.entries["sections"].get(name, {}).get("summary", "")
        touched = any(field.value or field.fault for field in [*fields, *([choose] if choose else [])])
        found.append(Section(name, about, choose, fields, touched))
    return found


def general(kind: str, typed: Mapping[str, str], faults: Mapping[str, str]) -> list[Field]:
    """Returns the fields beside the sections of the spec: what the run starts from, and those of the request."""
    schemas = {"init_from": _INIT_FROM, **_general(kind)}
    return [field_of(schema, f"/{name}", typed, faults) for name, schema in schemas.items()]


def request_of(kind: str, known: Catalogue, typed: Mapping[str, str]) -> dict[str, Any]:
    """Returns the body of the request that the draft makes; what is left empty is left out."""
    spec = _spec(known, typed)
    body: dict[str, Any] = {
        name: read(schema, typed[f"/{name}"]) for name, schema in _general(kind).items() if typed.get(f"/{name}")
    }
    recipe = {name: typed[f"/recipe/{name}"] for name in ("name", "row", "task") if typed.get(f"/recipe/{name}")}
    if kind == "suite" or recipe:
        body |= {"overrides": spec} if spec else {}
        body |= {"recipe": recipe} if recipe and kind != "suite" else {}
    else:
        body["spec"] = spec
    return body


def typed_of(spec: Mapping[str, Any], at: str = "") -> dict[str, str]:
    """Returns what one would type for that spec, or part of one."""
    found: dict[str, str] = {}
    for name, value in spec.items():
        pointer = f"{at}/{name}"
        if not at and isinstance(value, Mapping):
            found |= typed_of(cast(Mapping[str, Any], value), pointer)
        elif (text := written(value)) != "":
            found[pointer] = text
    return found


def _choose(known: Catalogue, name: str, typed: Mapping[str, str], faults: Mapping[str, str]) -> Field | None:
    kind = _CHOSEN.get(name)
    if kind is None:
        return None
    schema: dict[str, Any] = {"type": "string"}
    if name == "task":
        schema |= {"description": "A benchmark's task, or a name of your own with a source."}
    elif kind == "backbones":
        schema |= {"description": "One of the list, or any network of timm."}
    else:
        schema |= {"enum": list(known.entries[kind])}
        entry = known.entries[kind].get(typed.get(f"/{name}/name", ""))
        schema |= {"description": f"{entry['title']}: {entry['summary']}" if entry else ""}
    return field_of(schema, f"/{name}/name", typed, faults)


def _schemas(known: Catalogue, name: str, typed: Mapping[str, str]) -> Iterator[Schema]:
    if name in known.entries["sections"]:
        schema = known.entries["sections"][name]["params"]
        if name == "task":
            schema = {"properties": {**schema["properties"], "source": {"enum": list(known.entries["sources"])}}}
        yield schema
    kind = _CHOSEN.get(name)
    chosen = typed.get("/task/source" if name == "task" else f"/{name}/name", "")
    if kind in ("methods", "regularizers", "sources") and chosen in known.entries[kind]:
        yield known.entries[kind][chosen]["params"]


def _spec(known: Catalogue, typed: Mapping[str, str]) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    for name in _SECTIONS:
        properties: dict[str, Schema] = {"name": {"type": "string"}}
        for schema in _schemas(known, name, typed):
            properties |= schema.get("properties", {})
        values = {
            key: read(schema, typed[f"/{name}/{key}"])
            for key, schema in properties.items()
            if typed.get(f"/{name}/{key}")
        }
        if values:
            spec[name] = values
    if typed.get("/init_from"):
        spec["init_from"] = typed["/init_from"]
    return spec


def _general(kind: str) -> dict[str, Schema]:
    schema = REQUESTS[kind].model_json_schema(by_alias=True)
    recipe = () if kind == "suite" else ("recipe",)
    return {name: each for name, each in schema["properties"].items() if name not in (*_MADE_OF_SECTIONS, *recipe)}
