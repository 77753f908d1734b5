"""Databases of earlier versions: what was migrated once stays as it was, and nothing that was stored is lost."""

import ast
import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import pytest_asyncio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import sql
from sqlalchemy import create_engine

from service import migrate as migration
from service import postgres
from service.app import create_app
from service.db import sqlalchemy_url
from service.local.commands import of_database
from service.migrate import NewerDatabase, migrate, newest_revision
from service.migrations.upgrade import upgrade
from service.schema import METADATA
from service.settings import Settings
from tests.service.api import CPU, SPEC, event, result
from tests.service.small_catalogue import small_catalogue

HERE = Path(__file__).parent
VERSIONS = Path(migration.__file__).parent / "migrations" / "versions"
DUMPS = sorted(HERE.glob("*.sql"), reverse=True)
"""Data of a database that the service of that revision had filled, by `pg_dump --data-only --inserts`."""
STATES = {"queued": 2, "failed": 1, "paused": 1, "cancelled": 2, "succeeded": 1, "running": 1}


def test_landed_migrations_are_never_changed() -> None:
    """A database somewhere has run them. Mend what is wrong in a new one; then freeze that one, in this folder, by
    `sha256sum ../../../service/migrations/versions/0*.py | sed 's|../.*/||' > frozen.sha256`."""
    frozen = dict(reversed(line.split()) for line in (HERE / "frozen.sha256").read_text().splitlines())
    assert frozen == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in VERSIONS.glob("[0-9]*.py")}


def test_migrations_form_one_chain_and_import_nothing_that_changes_under_them() -> None:
    files = sorted(VERSIONS.glob("[0-9]*.py"))
    before = None
    for file in files:
        said = ast.parse(file.read_text())
        values = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in said.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and "revision" in node.targets[0].id
        }
        assert (values["revision"], values["down_revision"]) == (file.name[:4], before)
        before = file.name[:4]
        imported = {
            alias.name.split(".")[0]
            for node in ast.walk(said)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in (node.names if isinstance(node, ast.Import) else [ast.alias(str(node.module))])
        }
        assert imported <= {"sqlalchemy", "alembic", *sys.stdlib_module_names}, file.name


@pytest.fixture
def empty(postgres_url: str) -> Iterator[str]:
    """The URL of a database of its own."""
    server = of_database(postgres_url, "old")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS old WITH (FORCE)")
    postgres.ensure_database(postgres_url, "old")
    yield server
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE old WITH (FORCE)")


Rows = dict[str, list[dict[str, Any]]]


def rows(url: str) -> Rows:
    """Everything that is stored, by table."""
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return {
            table: sorted(
                connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))).fetchall(), key=str
            )
            for table in (row["tablename"] for row in tables)
            if table != "alembic_version"
        }


@pytest.fixture(params=DUMPS, ids=[dump.stem for dump in DUMPS])
def filled(request: pytest.FixtureRequest, empty: str) -> str:
    """A database as the service of an earlier version left it."""
    upgrade(empty, request.param.stem)
    with psycopg.connect(empty) as connection:
        for table in rows(empty):
            connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.Identifier(table)))
        connection.execute(request.param.read_bytes())
    return empty


@pytest_asyncio.fixture
async def served(filled: str, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Today's service over it."""
    app = create_app(Settings(database_url=filled, storage=str(tmp_path)), small_catalogue)
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://service") as http,
    ):
        yield http


def test_an_older_database_comes_up_to_date_and_keeps_every_value(filled: str) -> None:
    before = rows(filled)
    assert len(before["jobs"]) == sum(STATES.values())
    upgrade(filled)
    after = rows(filled)
    del before["heartbeats"]  # what comes anew every five seconds
    for table, stored in before.items():
        assert len(after[table]) == len(stored), table
        for column in stored[0] if stored else ():
            was, now = ([row[column] for row in found] for found in (stored, after[table]))
            assert sorted(map(str, was)) == sorted(map(str, now)), f"{table}.{column}"
    with create_engine(sqlalchemy_url(filled)).connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
    # Alembic cannot compare the text of an index
    assert [item for item in differences if getattr(item[1], "name", "") != "ix_jobs_words"] == []


async def test_what_an_older_service_stored_goes_on_in_this_one(served: httpx2.AsyncClient) -> None:
    ada, worker = ({"Authorization": f"Bearer pace_{role}"} for role in ("admin", "worker"))
    jobs = (await served.get("/v1/jobs?limit=100", headers=ada)).json()["data"]
    assert {state: sum(job["state"] == state for job in jobs) for state in STATES} == STATES
    (done,) = (job for job in jobs if job["state"] == "succeeded")
    assert (done["name"], done["tags"]) == ("größe σ=0.5 'quoted' \\ %", {"lab": "north", "ä/ö": "x=y"})
    assert done["result"]["metrics"][0]["value"] == 0.75
    curve = (await served.get(f"/v1/jobs/{done['id']}/metrics", headers=ada)).json()["data"]["train/loss"]
    assert [point["value"] for point in curve] == [0.25]
    table = (await served.get("/v1/leaderboards/vtab-mini", headers=ada)).json()
    (row,) = (row for row in table["rows"] if row["label"] == "PACE")
    assert row["cells"]["digits"]["mean"] == 0.75
    again = await served.post("/v1/jobs", json={"spec": SPEC, "name": "same"}, headers=ada | {"Idempotency-Key": "k1"})
    assert again.headers["idempotent-replayed"] == "true", "the answer that the older service gave"
    queued = {job["id"] for job in jobs if job["state"] == "queued"}
    assert (await served.post(f"/v1/jobs/{done['id']}/retry", headers=ada)).status_code == 202
    jobs = (await served.get("/v1/jobs?limit=100", headers=ada)).json()["data"]
    told = [
        event["data"]
        for job in jobs
        for event in (await served.get(f"/v1/jobs/{job['id']}/events", headers=ada)).json()["data"]
    ]
    positions: list[int] = []
    async with asyncio.timeout(10):
        while len(positions) < len(told):  # the last of them are numbered now
            page = (await served.get(f"/v1/events?after={len(positions)}&wait=5", headers=ada)).json()
            positions += [event["position"] for event in page["data"]]
    assert positions == list(range(1, len(told) + 1))
    big = {**CPU, "device": "cuda", "memory_bytes": 64 << 30}
    body = {"dispatcher": "d", "slots": [CPU | {"name": "a"}, big | {"name": "b"}], "code_version": "2", "wait_s": 0}
    leased = (await served.post("/v1/leases", json=body | {"all_slots": body["slots"]}, headers=worker)).json()[
        "leases"
    ]
    assert {lease["job"] for lease in leased} == queued
    for lease in leased:
        end = event(1, "end", {"reason": "succeeded", "message": "", "result": result(0.5)})
        report = {"token": lease["token"], "events": [end]}
        path = f"/v1/leases/{lease['job']}/{lease['attempt']}/reports"
        assert (await served.post(path, json=report, headers=worker)).status_code == 200
        assert (await served.get(f"/v1/jobs/{lease['job']}", headers=ada)).json()["state"] == "succeeded"


async def test_an_older_service_leaves_a_newer_database_alone_and_says_so(empty: str) -> None:
    await migrate(empty)
    with psycopg.connect(empty) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(NewerDatabase, match=f"at revision 9999, this service knows up to {newest_revision()}"):
        await migrate(empty)
