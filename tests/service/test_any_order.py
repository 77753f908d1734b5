"""Whatever users, workers, and lost processes do in whatever order, a job's history stays whole."""

import asyncio
import itertools
from dataclasses import dataclass
from typing import Any, LiteralString

import httpx2
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from pace_core.spec import ENDED, LEASED, MOVES, State
from service.app import create_app
from service.db import Database
from service.events.sequencer import number
from service.jobs import ledger
from service.jobs.intake import Intake
from service.keys.roles import Role
from service.keys.secrets import create_key
from service.leases.reaper import reap_one
from service.migrate import migrate
from service.schema import METADATA
from service.settings import Settings
from service.wake import Wakes
from tests.service.api import CPU, SPEC, event, result
from tests.service.small_catalogue import small_catalogue

REASONS = ("succeeded", "crashed", "nan", "paused", "cancelled", "lost")


@dataclass
class Held:
    """An attempt that a worker believes to hold."""

    dispatcher: str
    slot: str
    job: str
    attempt: int
    token: str
    seq: int = 0


class Service(RuleBasedStateMachine):
    """Two clusters of two slots each, one user, and the accidents between them."""

    database_url: str
    storage: str
    jobs = Bundle("jobs")
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.holding: list[Held] = []
        self.starts = {"d1": 0, "d2": 0}
        """How often each cluster's Ray was started anew; its slots have other names each time."""

    @initialize()
    def start(self) -> None:
        async def start() -> None:
            catalogue = small_catalogue()
            self.app = create_app(Settings(database_url=self.database_url, storage=self.storage), lambda: catalogue)
            wakes = self.app.state.wakes = Wakes(self.database_url)
            self.database = self.app.state.database = Database(self.database_url, on_commit=wakes.tell)
            wakes.hear = self.database.recent.forget
            self.app.state.intake = Intake(self.database)
            async with self.database.transaction() as session:
                for table in reversed(METADATA.sorted_tables):
                    await session.execute(table.delete())
                admin = await create_key(session, Role.ADMIN, "ada")
                self.workers = {
                    name: await create_key(session, Role.WORKER, "worker", cluster=name) for name in ("d1", "d2")
                }
            transport = httpx2.ASGITransport(app=self.app)
            headers = {"Authorization": f"Bearer {admin}"}
            self.http = httpx2.AsyncClient(transport=transport, base_url="http://service", headers=headers)

        self.runner.run(start())

    def post(self, path: str, body: Any = None, cluster: str | None = None) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.workers[cluster]}"} if cluster else None
        answer = self.runner.run(self.http.post(path, json=body, headers=headers))
        assert answer.status_code < 500
        return answer

    @rule(target=jobs, max_attempts=st.integers(1, 3))
    def submit(self, max_attempts: int) -> str:
        return self.post("/v1/jobs", {"spec": SPEC, "max_attempts": max_attempts}).json()["id"]

    @rule(target=held, dispatcher=st.sampled_from(("d1", "d2")), arrives=st.booleans())
    def lease(self, dispatcher: str, arrives: bool) -> Any:
        mine = [held for held in self.holding if held.dispatcher == dispatcher]
        slots = [{**CPU, "name": f"{name}{self.starts[dispatcher]}"} for name in ("a", "b")]
        body = {
            "dispatcher": dispatcher,
            "slots": [slot for slot in slots if slot["name"] not in {held.slot for held in mine}],
            "all_slots": slots,
            "holding": [{"job": held.job, "attempt": held.attempt, "slot": held.slot} for held in mine],
            "code_version": "1",
            "wait_s": 0,
        }
        answer = self.post("/v1/leases", body, dispatcher).json()
        for lost in answer["lost"]:
            self.holding = [h for h in self.holding if (h.job, h.attempt) != (lost["job"], lost["attempt"])]
        if not arrives:
            return multiple()
        taken = [
            Held(dispatcher, lease["slot"], lease["job"], lease["attempt"], lease["token"])
            for lease in answer["leases"]
        ]
        self.holding += taken
        return multiple(*taken)

    @rule(held=held, count=st.integers(0, 3), again=st.booleans())
    def report(self, held: Held, count: int, again: bool) -> None:
        events = [event(held.seq + n, "log", {"message": "x"}) for n in range(1, count + 1)]
        for _ in range(2 if again else 1):
            answer = self.send(held, events)
        if answer.status_code == 200:
            held.seq += count
            assert answer.json()["acknowledged"] == held.seq

    @rule(held=consumes(held), reason=st.sampled_from(REASONS), again=st.booleans())
    def end(self, held: Held, reason: str, again: bool) -> None:
        data = {"reason": reason, "message": "", "result": result() if reason == "succeeded" else None}
        last = [event(held.seq + 1, "end", data)]
        first = self.send(held, last)
        if again:
            assert self.send(held, last).status_code == first.status_code
        assert self.send(held, [event(held.seq + 2, "log", {"message": "late"})]).status_code == 409
        self.holding = [other for other in self.holding if other is not held]

    def send(self, held: Held, events: list[dict[str, Any]]) -> httpx2.Response:
        body = {"token": held.token, "events": events}
        answer = self.post(f"/v1/leases/{held.job}/{held.attempt}/reports", body, held.dispatcher)
        current = self.sql("SELECT state FROM jobs WHERE id = %s AND attempt = %s", held.job, held.attempt)
        if not current:
            assert answer.status_code == 409 or not events or answer.json()["directive"] == "stop"
        return answer

    @rule(job=jobs, verb=st.sampled_from(("cancel", "pause", "resume")))
    def act(self, job: str, verb: str) -> None:
        assert self.post(f"/v1/jobs/{job}/{verb}").status_code in (200, 409)

    @rule(target=jobs, job=jobs)
    def retry(self, job: str) -> Any:
        """An ended job runs again as another one; while that has not ended, asking again names the same."""
        answer = self.post(f"/v1/jobs/{job}/retry")
        if answer.status_code == 409:
            return multiple()
        assert answer.json()["retry_of"] == job
        assert self.post(f"/v1/jobs/{job}/retry").json()["id"] == answer.json()["id"]
        return answer.json()["id"]

    @rule(job=jobs)
    def fall_silent(self, job: str) -> None:
        self.sql(
            "UPDATE jobs SET lease_expires_at = now() - interval '1 s' WHERE id = %s AND lease_expires_at IS NOT NULL",
            job,
        )
        self.runner.run(reap_one(self.database))

    @rule(dispatcher=st.sampled_from(("d1", "d2")))
    def ray_is_killed(self, dispatcher: str) -> None:
        """Whatever ran there is gone; what it still had to say may arrive late."""
        self.starts[dispatcher] += 1
        self.holding = [held for held in self.holding if held.dispatcher != dispatcher]

    @rule()
    def time_passes(self) -> None:
        self.sql("UPDATE attempts SET renewed_at = now() - interval '1 minute'")
        self.sql("UPDATE jobs SET not_before = now() - interval '1 second' WHERE not_before IS NOT NULL")
        self.runner.run(self.let_in())

    async def let_in(self) -> None:
        async with self.database.transaction() as session:
            await ledger.let_in(session)

    @rule()
    def events_are_numbered(self) -> None:
        self.runner.run(self.number())

    async def number(self) -> None:
        async with await psycopg.AsyncConnection.connect(self.database_url, autocommit=True) as connection:
            await number(connection)

    @invariant()
    def one_live_attempt_where_a_worker_holds_the_job_and_none_elsewhere(self) -> None:
        rows = self.sql(
            "SELECT j.state, j.attempt, array_agg(a.number) FILTER (WHERE a.ended_at IS NULL AND a.number IS NOT NULL)"
            " FROM jobs j LEFT JOIN attempts a ON a.job = j.id GROUP BY j.id"
        )
        for state, attempt, live in rows:
            assert (live or []) == ([attempt] if State(state) in LEASED else [])

    @invariant()
    def no_slot_is_given_away_twice(self) -> None:
        assert not self.sql(
            "SELECT cluster, slot FROM attempts WHERE ended_at IS NULL GROUP BY cluster, slot HAVING count(*) > 1"
        )

    @invariant()
    def the_log_of_all_jobs_has_no_gap_and_each_job_in_its_order(self) -> None:
        rows = self.sql("SELECT position, job, number FROM job_events WHERE position IS NOT NULL ORDER BY position")
        assert [position for position, *_ in rows] == list(range(1, len(rows) + 1))
        by_job = sorted(rows, key=lambda row: row[1])
        for _, events in itertools.groupby(by_job, key=lambda row: row[1]):
            numbers = [event[2] for event in events]
            assert numbers == list(range(1, len(numbers) + 1))

    def teardown(self) -> None:
        for job, state, count in self.sql("SELECT id, state, event_count FROM jobs"):
            events = self.sql(
                "SELECT number, id, attempt, seq, type, data FROM job_events WHERE job = %s ORDER BY number", job
            )
            assert [number for number, *_ in events] == list(range(1, count + 1))
            assert all(earlier[1] < later[1] for earlier, later in itertools.pairwise(events))
            for _, seqs in itertools.groupby((e for e in events if e[3]), key=lambda e: e[2]):
                numbers = [event[3] for event in seqs]
                assert numbers == list(range(1, len(numbers) + 1))
            moves = [data for *_, type, data in events if type == "state"]
            follow_the_table(moves)
            assert moves[-1]["state"] == state
            assert sum(State(move["state"]) in ENDED for move in moves) == (State(state) in ENDED)
            assert State(state) not in ENDED or events[-1][4] == "state"
        self.runner.run(self.close())
        self.runner.close()

    async def close(self) -> None:
        await self.http.aclose()
        await self.database.close()

    def sql(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []


def follow_the_table(moves: list[dict[str, Any]]) -> None:
    assert moves[0]["move"] == "submit"
    for earlier, later in itertools.pairwise(moves):
        move = MOVES[later["move"]]
        assert State(earlier["state"]) in move.sources
        assert later["state"] == move.target


@pytest.mark.timeout(400)
def test_histories_stay_whole(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    asyncio.run(migrate(postgres_url))
    Service.database_url = postgres_url
    Service.storage = str(tmp_path_factory.mktemp("storage"))
    run_state_machine_as_test(
        Service,
        settings=settings(
            max_examples=8,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
