"""What keeps the parts of a stack running gives up at nothing."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from service import postgres
from service.local import supervisor
from service.local.commands import Command
from service.local.record import Folder
from service.local.supervisor import Supervisor


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name in ("_POSTGRES_LOOK_S", "_LONGEST_PAUSE_S"):
        monkeypatch.setattr(supervisor, name, 0.01)
    monkeypatch.delenv("PACE_PORT", raising=False)  # on which the shared stack may answer
    return []


@pytest.fixture
def keeper(tmp_path: Path, said: list[str]) -> Supervisor:
    folder = Folder(tmp_path / "state")
    folder.make()
    return Supervisor(folder, said.append, lambda _: None)


async def kept_until(keeping: "asyncio.Task[None]", done: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not done():
            assert not keeping.done(), "the keeper gave up"
            await asyncio.sleep(0.01)
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping


async def test_the_embedded_postgres_is_started_again_however_often_that_fails(
    keeper: Supervisor, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Path] = []

    def start(folder: Path) -> str:
        tries.append(folder)
        if len(tries) < 4:
            raise RuntimeError("the embedded Postgres failed at pg_ctl:\nNo space left on device")
        return "postgresql://"

    monkeypatch.setattr(postgres, "running", lambda _: len(tries) >= 4)
    monkeypatch.setattr(postgres, "start", start)
    await kept_until(asyncio.create_task(keeper._keep_postgres()), lambda: len(tries) >= 4)
    assert sum(line.endswith("No space left on device") for line in said) == 3


async def test_a_part_that_cannot_even_be_begun_is_tried_again(keeper: Supervisor, said: list[str]) -> None:
    """Its log has no room, or a folder stands in its place."""
    command = Command("part", ["sleep", "60"])
    log = keeper._folder.logs / "part.log"
    log.mkdir(parents=True)
    keeper._begin(command)
    (keeping,) = keeper._keepers
    async with asyncio.timeout(20):
        while not said:
            assert not keeping.done(), "the keeper gave up"
            await asyncio.sleep(0.01)
    assert said[0].startswith("part cannot be started and is tried again in ")
    log.rmdir()
    await kept_until(keeping, lambda: keeper._record.parts["part"].process is not None)
    assert log.is_file()


async def test_a_long_log_is_begun_anew_and_the_one_before_is_kept(
    keeper: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_LONGEST_LOG", 10)
    keeper._folder.logs.mkdir(exist_ok=True)
    log = keeper._folder.logs / "part.log"
    log.write_text("earlier than long ago")
    process = await keeper._spawn(Command("part", ["echo", "now"]), str(log))
    await process.wait()
    assert (log.read_text(), log.with_name("part.log.1").read_text()) == ("now\n", "earlier than long ago")
