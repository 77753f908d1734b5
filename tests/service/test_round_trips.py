"""How often the service asks the database: what a request costs stands and falls with it."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from service import recent
from tests.service.api import CPU, SPEC, Api, log, result

_asked: list[list[str]] = []


def _note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    for asked in _asked:
        asked.append(statement)


event.listen(Engine, "before_cursor_execute", _note)  # for good: it may not go while a statement is under way


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Statements of the service as they come."""
    monkeypatch.setattr(recent, "_LIVES_S", 60.0)  # on a busy machine a second is over between two requests
    _asked.append([])
    yield _asked[0]
    _asked.clear()


def of_requests(asked: list[str]) -> list[str]:
    """Returns them without those of the service's watchmen, which come when they come."""
    watch = ("not_before <=", "EXTRACT(epoch FROM clock_timestamp())", "lease_expires_at < now()", "DELETE FROM")
    return [statement for statement in asked if not any(word in statement for word in watch)]


async def test_a_submission_after_another_is_one_statement(api: Api, asked: list[str]) -> None:
    await api.submit()
    asked.clear()
    await api.submit(seed=1)
    assert len(of_requests(asked)) == 1
    answer = await api.call("POST", "/v1/jobs", json={"spec": SPEC}, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 202
    assert len(of_requests(asked)) == 2


async def test_a_claim_asks_as_often_for_many_slots_as_for_one(api: Api, asked: list[str]) -> None:
    for seed in range(9):
        await api.submit(seed=seed)
    await api.lease([{**CPU, "name": "other"}])
    slots = [{**CPU, "name": f"cpu-{n}", "node": f"n{n}"} for n in range(8)]
    every = [*slots, {**CPU, "name": "other"}]
    asked.clear()
    assert len((await api.lease(slots, all_slots=every))["leases"]) == 8
    assert len(of_requests(asked)) <= 5


async def test_a_report_is_one_statement_and_that_of_the_end_three(api: Api, asked: list[str]) -> None:
    job = await api.submit()
    await api.take()
    asked.clear()
    await api.report(job, 1, log())  # the first one moves the job too
    assert len(of_requests(asked)) == 1
    asked.clear()
    await api.report(job, 1, log(), log())
    assert len(of_requests(asked)) == 1
    asked.clear()
    await api.end(job, 1, "succeeded", result=result(0.7))
    assert len(of_requests(asked)) == 3
    assert (await api.job(job))["state"] == "succeeded"


async def test_a_sign_of_life_changes_nothing_that_an_index_knows(api: Api) -> None:
    """Else Postgres would write each index of jobs at every report."""
    found = await api.sql("SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'jobs'::regclass")
    assert len(found) > 10
    changing = ("lease_expires_at", "event_count", "progress")
    assert [index for (index,) in found if any(column in index for column in changing)] == []
