"""Schemathesis over the served API: whatever is sent, no 5xx, and every answer is what the document says."""

import asyncio

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from tests.service.api import Api, log, result

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.missing_required_header,
    checks.unsupported_method,
    checks.allow_header_conformance,
    checks.use_after_free,
    checks.ensure_resource_availability,
    checks.ignored_auth,
    checks.object_level_authorization,
]
"""All but `positive_data_acceptance`: what the document allows may still name a job or a method that is not there."""


async def some_jobs(api: Api) -> None:
    """One of each kind of thing that can be named."""
    await api.submit()
    job, attempt = await api.take()
    await api.report(job, attempt, log(), ("metrics", {"epoch": 1, "step": 1, "values": {"val/accuracy": 0.5}}))
    await api.end(job, attempt, "succeeded", result=result())
    await api.submit(name="waits")


def fuzz(api: Api, examples: int) -> set[str]:
    """Asks every operation with made-up values; the operations that were asked."""
    schema = schemathesis.openapi.from_url(f"{str(api.http.base_url).rstrip('/')}/openapi.json")
    asked: set[str] = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        assert operation is not None

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        def check(case: schemathesis.Case) -> None:
            case.query = {key: value for key, value in (case.query or {}).items() if key != "wait"}
            if case.path == "/v1/leases" and isinstance(case.body, dict):
                case.body["wait_s"] = 0
            case.call_and_validate(headers={"Authorization": f"Bearer {api.keys.admin}"}, checks=CHECKS, timeout=60)

        given(case=operation.as_strategy())(check)()
        asked.add(operation.label)
    return asked


@pytest.mark.timeout(600)
@pytest.mark.parametrize("examples", [2, pytest.param(40, marks=pytest.mark.slow)])
async def test_no_request_breaks_the_service_and_every_answer_is_as_documented(api: Api, examples: int) -> None:
    await some_jobs(api)
    asked = await asyncio.to_thread(fuzz, api, examples)
    assert len(asked) > 40
    assert (await api.http.get("/healthz")).status_code == 200
