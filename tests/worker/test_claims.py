"""Who asks for work, and what becomes of answers that come late. The service is a stand-in."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from pace_core.spec.leases import Holding, Lease, LeaseRequest, LeaseResponse, Slot
from service.client import ProblemError
from worker import claims
from worker.claims import Claims

A, B = (Slot(name=name, device="cpu", memory_bytes=1) for name in "ab")


def lease(job: str, slot: Slot) -> Lease:
    return Lease(job=job, attempt=1, slot=slot.name, token="t", spec={}, folder="f", resume_from=[], max_runtime_s=None)


class Service:
    """Holds every poll open until the test answers it."""

    def __init__(self) -> None:
        self.polls: asyncio.Queue[tuple[LeaseRequest, asyncio.Future[LeaseResponse]]] = asyncio.Queue()

    async def lease(self, request: LeaseRequest) -> LeaseResponse:
        answer: asyncio.Future[LeaseResponse] = asyncio.get_running_loop().create_future()
        self.polls.put_nowait((request, answer))
        return await answer


def give(answer: asyncio.Future[LeaseResponse], *leases: Lease, lost: list[Holding] | None = None) -> None:
    answer.set_result(LeaseResponse(leases=list(leases), lost=lost or [], lease_s=15))


class Setting:
    def __init__(self) -> None:
        self.service = Service()
        self.holding: list[Holding] = []
        self.looked_for: list[list[str]] = []
        self.claims = Claims(self.service, "here", lambda: self.holding, self.look)

    async def look(self, paths: list[str]) -> dict[str, bool]:
        self.looked_for.append(paths)
        return {path: path == "/data/here" for path in paths}


@pytest_asyncio.fixture
async def setting() -> AsyncIterator[Setting]:
    it = Setting()
    running = asyncio.create_task(it.claims.run())
    yield it
    running.cancel()


async def test_slots_free_together_ask_together_and_each_gets_its_lease(setting: Setting) -> None:
    asking = [asyncio.create_task(setting.claims.ask(slot)) for slot in (A, B)]
    request, answer = await setting.service.polls.get()
    assert request.slots == [A, B]
    give(answer, lease("job_2", B))
    assert [got and got.job for got in await asyncio.gather(*asking)] == [None, "job_2"]


async def test_a_slot_that_becomes_free_asks_anew_for_all(setting: Setting) -> None:
    first = asyncio.create_task(setting.claims.ask(A))
    _, old = await setting.service.polls.get()
    second = asyncio.create_task(setting.claims.ask(B))
    request, new = await setting.service.polls.get()
    assert request.slots == [A, B]
    give(old)
    give(new, lease("job_1", A), lease("job_2", B))
    assert [got and got.job for got in (await first, await second)] == ["job_1", "job_2"]


async def test_a_lease_that_an_older_poll_brings_is_taken(setting: Setting) -> None:
    first = asyncio.create_task(setting.claims.ask(A))
    _, old = await setting.service.polls.get()
    second = asyncio.create_task(setting.claims.ask(B))
    _, new = await setting.service.polls.get()
    give(old, lease("job_1", A))
    assert (await first) == lease("job_1", A)
    give(new, lease("job_9", A), lease("job_2", B))
    assert (await second) == lease("job_2", B)


async def test_a_cluster_whose_slots_are_all_at_work_is_heard_of(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "ANNOUNCE_S", 0.01)
    setting.holding = [Holding(job="job_1", attempt=1, slot="a")]
    first = asyncio.create_task(setting.claims.ask(A))
    _, answer = await setting.service.polls.get()
    give(answer, lease("job_1", A))
    await first
    request, _ = await setting.service.polls.get()
    assert (request.slots, request.all_slots, request.wait_s) == ([], [A], 0)
    assert request.holding == setting.holding


async def test_what_the_service_called_lost_is_not_held_any_more(setting: Setting) -> None:
    gone, kept = Holding(job="job_1", attempt=1, slot="c"), Holding(job="job_2", attempt=1, slot="d")
    setting.holding = [gone, kept]
    first = asyncio.create_task(setting.claims.ask(A))
    request, answer = await setting.service.polls.get()
    assert request.holding == [gone, kept]
    give(answer, lost=[gone])
    assert await first is None
    again = asyncio.create_task(setting.claims.ask(A))
    request, answer = await setting.service.polls.get()
    assert request.holding == [kept]
    give(answer)
    assert await again is None


async def test_a_service_of_another_protocol_is_asked_again_later_and_ends_nothing(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(claims, "REFUSED_S", 0.01)
    asking = asyncio.create_task(setting.claims.ask(A))
    _, answer = await setting.service.polls.get()
    answer.set_exception(ProblemError(409, "/problems/wrong-protocol", "protocol 1, this service 2: update it", []))
    assert await asking is None
    assert "no work is given to this worker: protocol 1, this service 2: update it" in caplog.text
    asking = asyncio.create_task(setting.claims.ask(A))
    _, answer = await setting.service.polls.get()
    give(answer, lease("job_1", A))
    assert (got := await asking)
    assert got.job == "job_1"


@pytest.mark.parametrize("status", [413, 422])
async def test_what_the_service_cannot_take_of_data_is_left_out_and_ends_no_dispatcher(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(claims, "SHORTENED_S", 0.01, raising=False)
    asking = asyncio.create_task(setting.claims.ask(A))
    _, answer = await setting.service.polls.get()
    answer.set_result(LeaseResponse(leases=[], lost=[], look_for=["/data/" + 4_000 * "x"], lease_s=15))
    assert await asking is None
    asking = asyncio.create_task(setting.claims.ask(A))
    request, answer = await setting.service.polls.get()
    assert request.paths
    answer.set_exception(ProblemError(status, "/problems/too-large", "the body is too long", []))
    assert await asking is None
    asking = asyncio.create_task(setting.claims.ask(A))
    request, answer = await asyncio.wait_for(setting.service.polls.get(), 5)
    assert request.paths == {}
    give(answer, lease("job_1", A))
    assert (got := await asking)
    assert got.job == "job_1"


async def test_the_next_request_says_whether_the_data_are_here_that_the_service_asks_for(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = asyncio.create_task(setting.claims.ask(A))
    request, answer = await setting.service.polls.get()
    assert request.paths == {}
    asked = LeaseResponse(leases=[], lost=[], look_for=["/data/here", "/data/there"], lease_s=15)
    answer.set_result(asked)
    assert await asking is None
    asking = asyncio.create_task(setting.claims.ask(A))
    request, answer = await setting.service.polls.get()
    assert request.paths == {"/data/here": True, "/data/there": False}
    monkeypatch.setattr(claims, "LOOKED_S", 0.0)  # it is long ago
    give(answer)
    assert await asking is None
    asking = asyncio.create_task(setting.claims.ask(A))
    request, answer = await setting.service.polls.get()
    assert request.paths == {}, "they may have been put there meanwhile"
    give(answer)
    assert await asking is None
    assert setting.looked_for == [["/data/here", "/data/there"]]
