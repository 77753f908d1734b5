"""The OpenAPI document: what FastAPI finds by itself, with the contract's schemas, examples and links."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from pace_core.spec import Catalogue, RunSpec
from service.openapi_examples import ANSWERS, BODIES, NAMES, PARAMETERS
from service.problems import ProblemView

_AT = "#/components/schemas/"


def install(app: FastAPI) -> None:
    """Makes the app's document from now on."""
    plain = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = plain()
            schemas: dict[str, Any] = found["components"]["schemas"]
            schemas |= _of_model(ProblemView.model_json_schema(ref_template=_AT + "{model}"), "ProblemView")
            schemas |= _spec(app.state.catalogue())
            schemas["JobRequest"]["properties"]["spec"]["anyOf"][0] = {"$ref": f"{_AT}RunSpec"}
            for name, example in (BODIES | ANSWERS).items():
                schemas[name]["examples"] = [example]
            _exemplify(found["paths"])
            _link(found["paths"])
        return plain()

    app.openapi = document


def name_of(route: APIRoute) -> str:
    """Returns the id of an operation: its function's name, with what it is about where that is no job.

    A generated client calls its methods so.
    """
    noun = route.path.split("/")[2] if route.path.startswith("/v1/") else ""
    one = f"{noun.removesuffix('ies')}y" if noun.endswith("ies") else noun.removesuffix("s")
    return route.name if noun == "jobs" or one in route.name else f"{route.name}_{one}"


def allowed(app: FastAPI) -> Callable[[str], list[str]]:
    """Returns a function that lists every method of a path, for the header `Allow`."""

    def methods(path: str) -> list[str]:
        paths: dict[str, dict[str, Any]] = app.openapi()["paths"]
        return sorted(
            {
                method.upper()
                for template, item in paths.items()
                if re.fullmatch(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template)), path)
                for method in item
            }
        )

    return methods


def _spec(catalogue: Catalogue) -> dict[str, Any]:
    """RunSpec as a request may give it, with a schema for each method, regularizer and data source."""
    schemas = _of_model(RunSpec.model_json_schema(ref_template=_AT + "{model}"), "RunSpec")
    del schemas["Chosen"]
    for kind, entries in (("method", catalogue.methods), ("regularizer", catalogue.regularizers)):
        names = {name: f"{kind.capitalize()}_{re.sub('[^A-Za-z0-9]+', '_', name)}" for name in sorted(entries)}
        for name, entry in entries.items():
            params = _lifted(entry.params, names[name], schemas)
            properties = {"name": {"type": "string", "const": name}, **params.get("properties", {})}
            schemas[names[name]] = {
                **params,
                "title": entry.title,
                "properties": properties,
                "required": ["name", *params.get("required", [])],
            }
        schemas[kind.capitalize()] = {
            "oneOf": [{"$ref": _AT + schema} for schema in names.values()],
            "discriminator": {
                "propertyName": "name",
                "mapping": {name: _AT + schema for name, schema in names.items()},
            },
        }
        schemas["RunSpec"]["properties"][kind] = {"$ref": _AT + kind.capitalize()}
    schemas["Task"]["required"] = ["name"]  # a benchmark's task has its source
    schemas["RunSpec"]["description"] = "One run. What is left out takes its default; unknown keys are refused."
    return schemas


def _lifted(params: dict[str, Any], name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """Parameters whose own definitions are schemas of the document, under their owner's name.

    Without defaults that are objects: generators of clients drop a schema that has one.
    """
    whole = json.loads(json.dumps(params).replace('"#/$defs/', f'"{_AT}{name}_'))
    for parameter in whole.get("properties", {}).values():
        if isinstance(parameter.get("default"), dict):
            del parameter["default"]
    schemas |= {f"{name}_{key}": schema for key, schema in whole.pop("$defs", {}).items()}
    return whole


def _of_model(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """A model's schema and those it refers to, by name."""
    return {**schema.pop("$defs", {}), name: schema}


def _exemplify(paths: dict[str, dict[str, Any]]) -> None:
    """Gives parameters examples, by their names; a `name` by what it is of."""
    for path, item in paths.items():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                name = parameter["name"]
                example = NAMES.get(path.split("/{")[0]) if name == "name" else PARAMETERS.get(name)
                if example is not None:
                    parameter["example"] = example


def _link(paths: dict[str, dict[str, Any]]) -> None:
    """What can be done with what was just made: its id goes into the paths below its own."""
    for template in _MADE:
        parameter = template.rpartition("{")[2].removesuffix("}")
        id = "name" if parameter == "name" else "id"
        below = [item for path, item in paths.items() if path == template or path.startswith(f"{template}/")]
        links = {
            operation["operationId"]: {
                "operationId": operation["operationId"],
                "description": operation["summary"],
                "parameters": {parameter: f"$response.body#/{id}"},
            }
            for item in below
            for operation in item.values()
            if {given["name"] for given in operation.get("parameters", []) if given["in"] == "path"} == {parameter}
        }
        for response in _makers(paths[template.rpartition("/")[0]], paths.get(f"{template}/retry")):
            response["links"] = links


_MADE = (
    "/v1/jobs/{job_id}",
    "/v1/suites/{suite_id}",
    "/v1/studies/{study_id}",
    "/v1/keys/{key_id}",
    "/v1/projects/{name}",
)


def _makers(*items: dict[str, Any] | None) -> Iterable[dict[str, Any]]:
    for item in items:
        for status, response in ((item or {}).get("post", {}).get("responses", {})).items():
            if status in ("201", "202"):
                yield response
