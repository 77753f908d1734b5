"""The Python client against a real API over a real Postgres."""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from pace_core.spec.events import Event, EventType
from pace_core.spec.leases import Heartbeat, LeaseRequest, Report, Slot
from service.client import AsyncClient, Client, DownloadError, JobRequest, LeaseFenced, NoService, ProblemError
from tests.service.api import SPEC, Api, log, numbered, result

SLOT = Slot(name="cpu-0", device="cpu", memory_bytes=8 << 30)
REQUEST = JobRequest(spec=SPEC)


@pytest_asyncio.fixture
async def client(base_url: str, api: Api) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(base_url, api.keys.admin) as client:
        yield client


@pytest_asyncio.fixture
async def worker(base_url: str, api: Api) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(base_url, api.keys.worker) as client:
        yield client


class Unlucky(httpx2.AsyncBaseTransport):
    """Loses the answers to the first requests of a method: they arrive, and the caller never learns it."""

    def __init__(self, method: str, lost: int) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self._method = method
        self._lost = lost

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if request.method == self._method and self._lost:
            self._lost -= 1
            await response.aread()
            raise httpx2.ReadError("connection reset")
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class Interrupted(httpx2.AsyncBaseTransport):
    """Breaks the first event stream after its first event."""

    def __init__(self) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self.resumed_after: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if request.url.path.endswith("/events/stream"):
            self.resumed_after.append(request.headers["Last-Event-ID"])
            if len(self.resumed_after) == 1:
                response.stream = _Broken(response)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Broken(httpx2.AsyncByteStream):
    def __init__(self, response: httpx2.Response) -> None:
        self._stream = response.stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._stream, httpx2.AsyncByteStream)
        async for block in self._stream:
            yield block
            if b"id: 1\n" in block:
                raise httpx2.ReadError("connection reset")

    async def aclose(self) -> None:
        assert isinstance(self._stream, httpx2.AsyncByteStream)
        await self._stream.aclose()


async def test_the_client_loads_without_service_core_and_worker() -> None:
    heavy = ("fastapi", "sqlalchemy", "psycopg", "torch", "timm", "numpy", "ray", "mlflow")
    code = f"import sys; sys.modules.update(dict.fromkeys({heavy!r})); import service.client, service.client.cli"
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=True)


async def test_a_job_is_submitted_and_waited_for(client: AsyncClient, api: Api) -> None:
    job = await client.jobs.submit(REQUEST)
    waiting = asyncio.create_task(client.jobs.wait(job.id))
    await api.finish(0.75)
    done = await waiting
    assert done.state == "succeeded"
    assert done.result is not None
    assert done.result.value("test") == 0.75


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that tries again for less than a second."""
    monkeypatch.setattr("service.client.connection.PATIENCE_S", 0.3)


@pytest.mark.usefixtures("impatient")
async def test_waiting_goes_on_though_a_poll_held_for_long_lost_its_answer(base_url: str, api: Api) -> None:
    job = await api.submit()
    async with AsyncClient(base_url, api.keys.admin, transport=Unlucky("GET", lost=1)) as client:
        waiting = asyncio.create_task(client.jobs.wait(job))
        await asyncio.sleep(0.6)  # the poll is held for longer than a request is tried again
        await api.finish()
        assert (await waiting).state == "succeeded"


@pytest.mark.usefixtures("impatient")
async def test_a_service_that_stays_away_is_told_after_a_while(base_url: str, api: Api) -> None:
    job = await api.submit()
    async with AsyncClient(base_url, api.keys.admin, transport=Unlucky("GET", lost=1_000)) as client:
        with pytest.raises(NoService, match="does not answer"):
            await client.jobs.get(job)


async def test_waiting_has_an_end(client: AsyncClient) -> None:
    job = await client.jobs.submit(REQUEST)
    with pytest.raises(TimeoutError, match="still queued"):
        await client.jobs.wait(job.id, timeout_s=0.1)


async def test_every_fault_of_a_spec_is_told_at_once(client: AsyncClient) -> None:
    spec = {"task": {"name": "vtab-mini/digitz"}, "method": {"name": "lora_add", "rnak": 8}, "seed": -1}
    with pytest.raises(ProblemError) as refused:
        await client.jobs.submit(JobRequest(spec=spec))
    assert {fault.pointer for fault in refused.value.faults} == {"/spec/task/name", "/spec/method/rnak", "/spec/seed"}
    assert "method.rnak" in str(refused.value)
    assert refused.value.status == 422


async def test_a_submission_whose_answer_was_lost_makes_one_job(base_url: str, api: Api) -> None:
    async with AsyncClient(base_url, api.keys.admin, transport=Unlucky("POST", lost=2)) as client:
        job = await client.jobs.submit(REQUEST)
        assert [found.id async for found in client.jobs.list()] == [job.id]


async def test_a_lease_is_never_asked_for_twice_by_itself(base_url: str, api: Api) -> None:
    await api.submit()
    request = LeaseRequest(dispatcher="d1", slots=[SLOT], all_slots=[SLOT], code_version="1", wait_s=0)
    async with AsyncClient(base_url, api.keys.worker, transport=Unlucky("POST", lost=1)) as client:
        with pytest.raises(NoService):
            await client.worker.lease(request)


async def test_jobs_are_found_over_all_pages(client: AsyncClient, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.jobs.PAGE", 2)
    made = [await api.submit(name=str(number)) for number in range(5)]
    assert [job.id async for job in client.jobs.list(task="digits")] == made[::-1]
    assert [job.id async for job in client.jobs.list(limit=3)] == made[:1:-1]
    assert [job.id async for job in client.jobs.list(state=["succeeded"])] == []


async def test_jobs_are_steered(client: AsyncClient) -> None:
    job = (await client.jobs.submit(REQUEST)).id
    assert (await client.jobs.change(job, name="mine", priority=90)).priority == 90
    assert (await client.jobs.pause(job)).state == "paused"
    assert (await client.jobs.resume(job)).state == "queued"
    assert (await client.jobs.cancel(job)).state == "cancelled"
    again = await client.jobs.retry(job)
    assert again.retry_of == job
    await client.jobs.delete(job)
    with pytest.raises(ProblemError, match="no job"):
        await client.jobs.get(job)


async def test_events_are_followed_to_the_end_over_a_broken_connection(base_url: str, api: Api) -> None:
    job = await api.submit()
    transport = Interrupted()
    async with AsyncClient(base_url, api.keys.admin, transport=transport) as client:
        following = asyncio.create_task(_all_numbers(client, job))
        name, attempt = await api.take()
        await api.report(name, attempt, log("one"), log("two"))
        await api.end(name, attempt, "succeeded", result=result())
        numbers = await following
        stored = [event.number async for event in client.jobs.events(job, follow=False)]
    assert numbers == stored == list(range(1, len(numbers) + 1))
    assert transport.resumed_after == ["0", "1"]


async def _all_numbers(client: AsyncClient, job: str) -> list[int]:
    return [event.number async for event in client.jobs.events(job)]


async def test_logs_and_metrics_are_read(client: AsyncClient, api: Api) -> None:
    job = await api.submit()
    name, attempt = await api.take()
    values = {"epoch": 1, "step": 10, "values": {"train/loss": 0.5}}
    await api.report(name, attempt, log("hello"), ("metrics", values))
    assert "hello" in [line.message for line in await client.jobs.logs(job)]
    assert [(point.epoch, point.value) for point in (await client.jobs.metrics(job))["train/loss"]] == [(1, 0.5)]


async def test_an_adapter_arrives_as_it_was_trained(client: AsyncClient, api: Api, tmp_path: Path) -> None:
    job = await api.submit()
    folder = api.storage / "jobs" / job / "1"
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"weights" * 1000)
    await api.finish(uri=str(folder / "adapter.safetensors"))
    file = await client.jobs.download(job, tmp_path)
    assert file == tmp_path / "digits-lora_add-seed0.safetensors"
    assert file.read_bytes() == b"weights" * 1000
    assert [artifact.bytes for artifact in await client.jobs.artifacts(job)] == [7000]


async def test_a_file_that_arrives_damaged_is_refused(tmp_path: Path) -> None:
    sent = hashlib.sha256(b"other").hexdigest()
    answer = httpx2.MockTransport(lambda _: httpx2.Response(200, content=b"some", headers={"X-Checksum-Sha256": sent}))
    async with AsyncClient("http://service", "key", transport=answer) as client:
        with pytest.raises(DownloadError, match="damaged"):
            await client.jobs.download("job_1", tmp_path / "adapter.safetensors")
    assert list(tmp_path.iterdir()) == []


async def test_workers_lease_report_and_are_fenced(worker: AsyncClient, api: Api) -> None:
    job = await api.submit()
    request = LeaseRequest(dispatcher="d1", slots=[SLOT], all_slots=[SLOT], code_version="1", wait_s=0)
    (lease,) = (await worker.worker.lease(request)).leases
    assert lease.job == job
    start = Event(seq=1, at=datetime.now(UTC), type=EventType.LOG, data={"level": "info", "message": "hi"})
    said = await worker.worker.report(job, 1, Report(token=lease.token, events=[start]))
    assert (said.acknowledged, said.directive) == (1, "continue")
    await api.expire(job)
    await api.moved_to(job, "queued")
    with pytest.raises(LeaseFenced):
        await worker.worker.report(job, 1, Report(token=lease.token, events=[]))


async def test_readers_of_all_events_keep_their_place(base_url: str, api: Api) -> None:
    await api.submit()
    await numbered(api)
    async with AsyncClient(base_url, api.keys.tracking) as reader:
        assert await reader.worker.cursor("mlflow") == 0
        events = await reader.worker.events(0)
        await reader.worker.set_cursor("mlflow", events[-1].position)
        assert await reader.worker.events(await reader.worker.cursor("mlflow")) == []


async def test_the_parts_of_the_stack_are_told(worker: AsyncClient) -> None:
    await worker.worker.heartbeat(Heartbeat(part="ray", ok=True, detail="2 slots"))
    assert (await worker.ready()).parts["ray"].detail == "2 slots"


async def test_a_leaderboard_is_read(client: AsyncClient, api: Api) -> None:
    await api.submit(row="LoRA")
    await api.finish(0.5)
    board = await client.leaderboard("vtab-mini")
    measured = {row.label: row for row in board.rows}
    assert measured["LoRA"].cells["digits"].mean == 0.5


async def test_the_same_calls_without_async(base_url: str, api: Api) -> None:
    def use() -> list[str]:
        with Client(base_url, api.keys.admin) as client:
            job = client.jobs.submit(REQUEST)
            client.jobs.cancel(job.id)
            assert [event.number for event in client.jobs.events(job.id)] == [1, 2]
            return [found.id for found in client.jobs.list()] + [client.jobs.wait(job.id).state]

    assert len(await asyncio.to_thread(use)) == 2


async def test_nobody_there_is_said_with_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with AsyncClient("http://127.0.0.1:9", "key") as client:
        with pytest.raises(NoService, match="pace up"):
            await client.jobs.get("job_1")
    for name in ("PACE_URL", "PACE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PACE_STATE_DIR", str(tmp_path))
    with pytest.raises(NoService, match="pace up"):
        AsyncClient()


async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    base_url: str, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with AsyncClient(base_url, api.keys.admin) as client:
        assert (await client.ready()).ready
