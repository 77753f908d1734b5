"""What stays in the storage, and what goes."""

import asyncio
import os
import shutil
import time
from pathlib import Path

import pytest

from service.storage.upkeep import look_after
from tests.service.api import Api, log


def write(api: Api, job: str, *files: str) -> Path:
    folder = api.storage / "jobs" / job
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x" * 100)
    return folder


def left(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


async def tidy(api: Api, keep_checkpoints_s: float = 3600) -> None:
    await look_after(api.database, str(api.storage), keep_checkpoints_s)


async def test_a_job_that_succeeded_keeps_its_adapter_and_no_checkpoint(api: Api) -> None:
    job = await api.submit()
    folder = write(api, job, "1/checkpoint.safetensors", "1/adapter.safetensors", "1/predictions.csv")
    await api.finish(uri=f"{folder}/1/adapter.safetensors")
    await tidy(api)
    assert left(folder) == ["1/adapter.safetensors", "1/predictions.csv"]
    assert (await api.get("/v1/limits"))["project"]["stored_bytes"] == 200
    assert (await api.call("GET", f"/v1/jobs/{job}/adapter")).status_code == 200


async def test_what_a_killed_writer_began_goes_after_a_day_and_what_is_being_written_stays(api: Api) -> None:
    job = await api.submit()
    old, new = "1/adapter.safetensors.0a1b2c3d.part", "1/adapter.safetensors.4e5f6a7b.part"
    named = "1/my.part"
    folder = write(api, job, old, new, named)
    unknown = write(api, "job_of_another_database", old)
    for file in (folder / old, folder / named, unknown / old):
        os.utime(file, (0, time.time() - 90_000))
    await tidy(api)
    assert left(folder) == [new, named]
    assert left(unknown) == [old], "whose it is is not ours to say"
    assert (await api.get("/v1/limits"))["project"]["stored_bytes"] == 200
    shutil.rmtree(unknown)


async def test_of_a_job_that_goes_on_the_newest_checkpoint_is_kept(api: Api) -> None:
    job = await api.submit(max_attempts=20)
    folder = write(api, job, *(f"{n}/checkpoint.safetensors" for n in (2, 9, 10)), "11/adapter.part")
    for state in ("queued", "running", "paused"):
        if state == "running":
            _, attempt = await api.take()
            await api.report(job, attempt, log())
        if state == "paused":
            await api.act(job, "pause")
            await api.end(job, attempt, "paused")
        await tidy(api, 0)
        assert (await api.job(job))["state"] == state
        assert left(folder) == ["10/checkpoint.safetensors", "11/adapter.part"], "10 is newer than 9"


async def test_of_a_job_that_failed_it_is_kept_for_a_while(api: Api) -> None:
    job = await api.submit()
    folder = write(api, job, "1/checkpoint.safetensors", "1/log.txt")
    _, attempt = await api.take()
    await api.end(job, attempt, "nan")
    await tidy(api, 3600)
    assert "1/checkpoint.safetensors" in left(folder)
    await api.sql("UPDATE jobs SET ended_at = now() - interval '2 hours'")
    await tidy(api, 3600)
    assert left(folder) == ["1/log.txt"]


async def test_what_is_left_of_a_deleted_job_goes_whoever_wrote_it_when(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, kept = await api.submit(), await api.submit()
    folder, other = write(api, job, "1/adapter.safetensors"), write(api, kept, "1/checkpoint.safetensors")
    await api.act(job, "cancel")

    async def killed(*_: object) -> None:
        await asyncio.sleep(0)

    with monkeypatch.context() as before_the_files:
        before_the_files.setattr("service.jobs.actions.delete_files", killed)
        assert (await api.call("DELETE", f"/v1/jobs/{job}")).status_code == 204
    assert left(folder) == ["1/adapter.safetensors"]
    await tidy(api)
    assert not folder.exists()
    write(api, job, "2/checkpoint.safetensors")  # a worker that was cut off and did not know
    await tidy(api)
    assert not folder.exists()
    assert left(other) == ["1/checkpoint.safetensors"]
    await api.sql("UPDATE deleted_jobs SET at = now() - interval '8 days'")
    await tidy(api)
    assert not await api.sql("SELECT 1 FROM deleted_jobs")


async def test_folders_of_jobs_that_this_database_does_not_know_are_left_alone(api: Api) -> None:
    """They may be another service's, or this one's that was started on the wrong database."""
    folder = write(api, "job_01h00000000000000000000000", "1/adapter.safetensors")
    stray = api.storage / "jobs" / "notes.txt"
    stray.write_text("mine")
    await tidy(api, 0)
    assert left(folder) == ["1/adapter.safetensors"]
    assert stray.exists()


async def test_two_processes_may_tidy_at_once(api: Api) -> None:
    jobs = [await api.submit() for _ in range(5)]
    folders = [write(api, job, "1/checkpoint.safetensors", "2/checkpoint.safetensors") for job in jobs]
    await asyncio.gather(*(tidy(api) for _ in range(4)))
    assert [left(folder) for folder in folders] == [["2/checkpoint.safetensors"]] * 5
