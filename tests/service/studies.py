"""A study as its user and its driver walk through it."""

from typing import Any

from tests.service.api import Api
from tests.service.test_suites import current

SPEC = {
    "task": {"name": "vtab-mini/digits"},
    "method": {"name": "lora_add"},
    "regularizer": {"name": "pace"},
    "training": {"epochs": 9, "warmup_epochs": 3},
}

SPACE = {"regularizer.sigma": {"choice": [0.1, 0.5]}, "regularizer.lambda": {"choice": [0.02, 0.1]}}


async def submitted(api: Api, **more: Any) -> dict[str, Any]:
    answer = await api.call("POST", "/v1/studies", json={"spec": SPEC, "space": SPACE} | more)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def study_of(api: Api, study: dict[str, Any]) -> dict[str, Any]:
    return await api.get(f"/v1/studies/{study['id']}")


async def driver(api: Api, holding: list[str] | None = None) -> dict[str, Any] | None:
    """What a cluster's driver is given."""
    body = {"holding": holding or []}
    answer = await api.call("POST", "/v1/studies/drivers", json=body, key=api.keys.worker)
    assert answer.status_code == 200, answer.text
    return answer.json()["lease"]


async def say(api: Api, lease: dict[str, Any], verb: str, **body: Any) -> dict[str, Any]:
    path = f"/v1/studies/{lease['study']}/{verb}"
    answer = await api.call("POST", path, json={"token": lease["token"], **body}, key=api.keys.worker)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def rung(api: Api, lease: dict[str, Any], config: dict[str, Any], number: int = 0) -> dict[str, Any]:
    return await say(api, lease, "rungs", config=config, rung=number, wait_s=0)


async def finish(api: Api, *values: float, metric: str = "val/accuracy") -> str:
    """Runs the waiting job; it evaluates so many times on validation images."""
    job, attempt = await api.take()
    said = current(values[-1])
    said["metrics"][0]["split"] = "val"
    evaluations = [
        ("metrics", {"epoch": epoch, "step": epoch, "values": {metric: value}})
        for epoch, value in enumerate(values, start=1)
    ]
    await api.report(job, attempt, *evaluations)
    await api.end(job, attempt, "succeeded", result=said)
    return job


async def tried(
    api: Api, lease: dict[str, Any], config: dict[str, Any], *values: float, metric: str = "val/accuracy"
) -> str:
    """Has a trial run its first rung, with so many evaluations, and its driver told; returns the job."""
    await rung(api, lease, config)
    job = await finish(api, *values, metric=metric)
    await rung(api, lease, config)
    return job
