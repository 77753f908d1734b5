"""`init_from` names a job that the caller sees; the service finds its adapter, and nothing else is fetched."""

from typing import Any

import httpx2
import pytest

from service.keys.roles import Role
from service.keys.secrets import create_key
from tests.service.api import SPEC, Api, result


async def trained(api: Api) -> tuple[str, str]:
    """A job with an adapter: its id and where that lies."""
    await api.submit()
    (lease,) = (await api.lease())["leases"]
    uri = f"{lease['folder']}/adapter.safetensors"
    await api.end(lease["job"], 1, "succeeded", result=result(uri=uri))
    return lease["job"], uri


async def start_from(api: Api, init_from: Any, key: str | None = None, query: str = "") -> httpx2.Response:
    return await api.call("POST", f"/v1/jobs{query}", json={"spec": {**SPEC, "init_from": init_from}}, key=key)


async def test_a_job_s_adapter_is_found_and_handed_to_the_worker(api: Api) -> None:
    source, uri = await trained(api)
    job = (await start_from(api, source, key=api.keys.user)).json()
    assert job["spec"]["init_from"] == source
    (lease,) = (await api.lease())["leases"]
    assert (lease["job"], lease["init_from"], lease["spec"]["init_from"]) == (job["id"], uri, source)
    await api.end(job["id"], 1, "nan")
    again = (await api.act(job["id"], "retry")).json()["id"]
    (lease,) = (await api.lease())["leases"]
    assert (lease["job"], lease["init_from"]) == (again, uri)


@pytest.mark.parametrize(
    "init_from",
    [
        *(
            "http://169.254.169.254/latest/meta-data/iam",
            "file:///etc/passwd",
            "/etc/passwd",
            "local:///etc",
            "s3://b/k",
        ),
        *("job_none", "../../etc/passwd", "job_\x00", "x" * 500),
    ],
)
@pytest.mark.parametrize("query", ["", "?validate_only=true"])
async def test_an_address_or_a_path_is_refused_at_submission_with_the_cure(
    api: Api, init_from: str, query: str
) -> None:
    refused = await start_from(api, init_from, query=query)
    assert refused.status_code == 422
    (fault,) = refused.json()["errors"]
    assert fault["pointer"] == "/spec/init_from"
    assert (await api.get("/v1/jobs"))["data"] == []


async def test_another_project_s_job_is_not_told_from_none(api: Api) -> None:
    source, _ = await trained(api)
    async with api.database.transaction() as session:
        theirs = await create_key(session, Role.USER, "grace", "vision")
    said = [(await start_from(api, job, key=theirs)).json()["errors"] for job in (source, "job_none")]
    assert said[0][0]["message"].replace(source, "") == said[1][0]["message"].replace("job_none", "")


async def test_a_job_without_an_adapter_is_named_with_its_state(api: Api) -> None:
    job = await api.submit()
    (fault,) = (await start_from(api, job)).json()["errors"]
    assert f"{job} is queued" in fault["message"]
    by_override = {"spec": SPEC, "overrides": {"init_from": job}}
    (fault,) = (await api.call("POST", "/v1/jobs", json=by_override)).json()["errors"]
    assert fault["pointer"] == "/overrides/init_from"
