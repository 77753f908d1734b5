"""What a worker's key cannot do: speak for an attempt that its cluster does not hold, or point anywhere it likes."""

from typing import Any

import pytest

from tests.service.api import Api, event, log, result


def won(**more: Any) -> dict[str, Any]:
    return event(1, "end", {"reason": "succeeded", "message": "", "result": result(0.999, **more)})


async def test_a_second_worker_cannot_end_a_job_that_it_did_not_lease(api: Api) -> None:
    await api.submit()
    job, attempt = await api.take()
    path, token = f"/v1/leases/{job}/{attempt}/reports", api.tokens[job, attempt]
    other = await api.worker("south")
    forged = {
        "without a token": ({"events": [won()]}, api.keys.worker),
        "with a guess": ({"token": "guess", "events": [won()]}, api.keys.worker),
        "with nothing": ({"token": "", "events": [won()]}, api.keys.worker),
        "by another cluster that guesses": ({"token": "guess", "events": [won()]}, other),
        "by another cluster that has read the token": ({"token": token, "events": [won()]}, other),
        "by tracking": ({"token": token, "events": [won()]}, api.keys.tracking),
        "by an admin": ({"token": token, "events": [won()]}, api.keys.admin),
    }
    for how, (body, key) in forged.items():
        refused = await api.call("POST", path, json=body, key=key)
        assert refused.status_code in (403, 409, 422), how
    assert (await api.job(job))["state"] == "starting"
    assert (await api.report(job, attempt, log()))["acknowledged"] == 1, "who holds the lease goes on"


async def test_an_empty_report_without_the_token_does_not_keep_a_lease_alive(api: Api) -> None:
    await api.submit()
    job, attempt = await api.take()
    body = {"token": "guess", "events": []}
    refused = await api.call("POST", f"/v1/leases/{job}/{attempt}/reports", json=body, key=api.keys.worker)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/lease-fenced")


async def test_every_attempt_has_a_token_of_its_own_which_is_not_stored(api: Api) -> None:
    await api.submit()
    job, first = await api.take()
    await api.end(job, first, "crashed")
    job, second = await api.take()
    tokens = {api.tokens[job, first], api.tokens[job, second]}
    assert len(tokens) == 2
    assert not tokens & {hash for (hash,) in await api.sql("SELECT token_hash FROM attempts")}
    shown = (await api.call("GET", f"/v1/jobs/{job}/attempts")).text
    assert not any(token in shown for token in tokens)
    api.tokens[job, second] = api.tokens[job, first]
    assert (await api.send(job, second, [won()])).status_code == 409


@pytest.mark.parametrize(
    "uri",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "{folder}/../2/adapter.safetensors",
        "{folder}/../../job_other/1/adapter.safetensors",
        "file://{folder}/../1x/adapter.safetensors",
        "{folder}x/adapter.safetensors",
        "{folder}",
        "",
    ],
)
async def test_a_result_s_adapter_lies_below_its_attempt_s_folder(api: Api, uri: str) -> None:
    await api.submit(max_attempts=1)
    (lease,) = (await api.lease())["leases"]
    await api.send(lease["job"], 1, [won(uri=uri.format(folder=lease["folder"]))])
    job = await api.job(lease["job"])
    assert (job["state"], job["reason"], job["result"]) == ("failed", "crashed", None)
    assert "outside of its attempt's folder" in job["message"]


@pytest.mark.parametrize("scheme", ["", "file://"])
async def test_an_adapter_where_it_belongs_is_taken(api: Api, scheme: str) -> None:
    await api.submit()
    (lease,) = (await api.lease())["leases"]
    await api.send(lease["job"], 1, [won(uri=f"{scheme}{lease['folder']}/adapter.safetensors")])
    assert (await api.job(lease["job"]))["state"] == "succeeded"


async def test_a_link_is_one_that_can_be_clicked_without_harm(api: Api) -> None:
    job = await api.submit()
    path = f"/v1/jobs/{job}/tracking"
    for url in (
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil",
        "http://a b",
        'http://a"onclick="x',
        "file:///etc",
    ):
        assert (await api.call("PUT", path, json={"url": url}, key=api.keys.tracking)).status_code == 422, url
    good = "https://mlflow.example:5000/#/experiments/1/runs/2?workflowType=machine_learning"
    assert (await api.call("PUT", path, json={"url": good}, key=api.keys.tracking)).json()["mlflow_url"] == good
