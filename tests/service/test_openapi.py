"""The OpenAPI document as a generator of clients reads it."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from pace_core.spec import Catalogue, load_catalogue
from service.app import create_app
from service.settings import Settings
from tests.service.api import SPEC, Api
from tests.service.small_catalogue import small_catalogue

Document = dict[str, Any]


@pytest_asyncio.fixture
async def document(api: Api) -> Document:
    return (await api.http.get("/openapi.json")).json()


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def validator(document: Document, name: str) -> Draft202012Validator:
    registry = Registry().with_resource("urn:api", Resource(document, DRAFT202012))
    return Draft202012Validator({"$ref": f"urn:api#/components/schemas/{name}"}, registry=registry)


@pytest.mark.parametrize("catalogue", [small_catalogue, load_catalogue])
def test_every_reference_resolves(catalogue: Callable[[], Catalogue]) -> None:
    document = create_app(Settings(database_url="postgresql://nobody"), catalogue).openapi()
    schemas = document["components"]["schemas"]
    found = set(re.findall(r'"(?:\$ref|[a-z_]+)": "(#/[^"]+)"', json.dumps(document)))
    assert "#/components/schemas/FaultView" in found
    assert {reference for reference in found if reference.removeprefix("#/components/schemas/") not in schemas} == set()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in schemas)


def test_each_operation_has_a_name_of_its_own(document: Document) -> None:
    names = Counter(operation["operationId"] for _, _, operation in operations(document))
    assert names.most_common(1)[0][1] == 1
    assert all(name.isidentifier() for name in names)
    assert {"post_job", "list_jobs", "cancel", "post_lease"} <= set(names)


def test_every_body_has_an_example_that_fits_its_schema(document: Document) -> None:
    seen = 0
    for method, path, operation in operations(document):
        if "requestBody" not in operation:
            continue
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        name = body.get("anyOf", [body])[0]["$ref"].rpartition("/")[2]  # one that may be left out is this or null
        examples = document["components"]["schemas"][name]["examples"]
        assert examples, f"{method} {path}"
        for example in examples:
            assert list(validator(document, name).iter_errors(example)) == [], f"{method} {path}"
        seen += 1
    assert seen > 10


def test_every_parameter_of_a_path_has_an_example_and_each_fits_its_schema(document: Document) -> None:
    registry = Registry().with_resource("urn:api", Resource(document, DRAFT202012))
    for method, path, operation in operations(document):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                assert "example" in parameter, f"{method} {path}: {parameter['name']}"
            if "example" in parameter:
                schema = json.loads(json.dumps(parameter["schema"]).replace('"#/', '"urn:api#/'))
                wrong = list(Draft202012Validator(schema, registry=registry).iter_errors(parameter["example"]))
                assert wrong == [], f"{method} {path}: {parameter['name']}"


def test_nearly_every_answer_has_an_example_that_fits_its_schema(document: Document) -> None:
    shown, bare = set(), set()
    for _, _, operation in operations(document):
        for status, response in operation["responses"].items():
            schema = response.get("content", {}).get("application/json", {}).get("schema", {})
            if not status.startswith("2") or "$ref" not in schema:
                continue
            name = schema["$ref"].rpartition("/")[2]
            examples = document["components"]["schemas"][name].get("examples", [])
            (shown if examples else bare).add(name)
            for example in examples:
                assert list(validator(document, name).iter_errors(example)) == [], name
    assert bare <= {"Leaderboard", "SuiteTable", "SuitePlan", "SuitePage", "StudyView", "StudyPlan", "StudyPage"} | {
        "StudyReport"
    }, "tables and reports are too long to read there"
    assert len(shown) > 15


def test_a_spec_s_methods_and_regularizers_are_schemas_of_their_own(document: Document) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["JobRequest"]["properties"]["spec"]["anyOf"][0] == {"$ref": "#/components/schemas/RunSpec"}
    assert schemas["Method"]["discriminator"]["mapping"]["lora_add"] == "#/components/schemas/Method_lora_add"
    assert schemas["Method_lora_add"]["properties"]["rank"]["default"] == 8
    request = validator(document, "JobRequest")
    assert request.is_valid({"spec": SPEC})
    for wrong in ({"rank": "eight"}, {"name": "no such method"}, {"ranks": 4}):
        assert not request.is_valid({"spec": SPEC | {"method": SPEC["method"] | wrong}})


async def test_what_was_made_links_to_what_can_be_done_with_it(api: Api, document: Document) -> None:
    named = {operation["operationId"]: (method, path) for method, path, operation in operations(document)}
    links = document["paths"]["/v1/jobs"]["post"]["responses"]["202"]["links"]
    assert {"get_job", "cancel", "get_logs", "delete_job"} <= set(links)
    assert {link["operationId"] for link in links.values()} <= set(named)
    job = await api.submit()
    for name in ("get_job", "get_logs", "get_metrics", "cancel"):
        method, path = named[links[name]["operationId"]]
        assert (await api.call(method.upper(), path.replace("{job_id}", job))).status_code == 200


async def test_a_method_that_a_path_does_not_take_is_answered_with_all_that_it_takes(api: Api) -> None:
    for path, methods in (("/v1/jobs", "GET, POST"), ("/v1/jobs/job_1", "DELETE, GET, PATCH"), ("/v1/leases", "POST")):
        answer = await api.call("PUT", path, json={})
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)


@pytest.mark.parametrize(
    ("made", "operation"),
    [
        ("/v1/suites", "get_suite"),
        ("/v1/studies", "get_study"),
        ("/v1/projects", "get_project"),
        ("/v1/keys", "delete_key"),
    ],
)
async def test_all_that_is_made_links_to_itself(document: Document, made: str, operation: str) -> None:
    answers = document["paths"][made]["post"]["responses"]
    (links,) = [answer["links"] for answer in answers.values() if "links" in answer]
    assert operation in links, sorted(links)
    assert all(str(value).startswith("$response.body#/") for value in links[operation]["parameters"].values())
