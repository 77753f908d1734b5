"""Jobs on the command line: listed, watched, steered, their logs and files."""

import asyncio
import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.cells import cell_len
from rich.text import Text

from tests.service.api import CPU, Api, log, result
from tests.service.client.commands import Pace, submitted


async def test_a_list_of_jobs_fits_a_hundred_columns_and_cuts_no_id_and_no_number(pace: Pace, api: Api) -> None:
    for name in ("a" * 200, "宽" * 200, "[red]\x1b[2J\nsecond line", ""):
        job = await api.submit(name=name, row=(name or "LoRA")[:150])
        await api.finish(0.5)
        said = await pace("jobs")
        line = next(line for line in said.out.splitlines() if job in line)
        assert "succeeded 50.0 %" in line
        assert max(cell_len(line) for line in said.out.splitlines()) <= 100
        assert "\x1b" not in said.out


async def test_the_label_of_a_row_is_whole_beside_a_long_result(pace: Pace, api: Api) -> None:
    await api.submit(row="lora_add + pace", name="a long name of a try that one shortens first")
    await api.finish(0.5)
    said = (await pace("jobs")).out
    assert "lora_add + pace" in said
    assert "succeeded 50.0 %" in said
    assert "ada" not in said, "every job is hers"
    await api.sql("UPDATE jobs SET owner = 'bob'")
    await api.submit()
    said = (await pace("jobs")).out
    assert ("ada" in said, "bob" in said) == (True, True)


async def test_lists_come_as_json_and_csv_whole_and_in_the_order_of_the_table(pace: Pace, api: Api) -> None:
    name = '=1+1, "quoted" 宽' * 8
    first = await api.submit(name=name, tags={"a": "b"})
    await api.finish(0.5)
    second = await api.submit(seed=1)
    as_json = json.loads((await pace("jobs", "--json")).out)
    assert [job["id"] for job in as_json] == [second, first]
    assert (as_json[1]["name"], as_json[1]["spec"]["method"]["rank"], as_json[1]["tags"]) == (name, 4, {"a": "b"})
    as_csv = list(csv.DictReader(io.StringIO((await pace("jobs", "--csv")).out)))
    assert [job["id"] for job in as_csv] == [second, first]
    assert (as_csv[1]["name"], as_csv[1]["test_accuracy"], as_csv[0]["test_accuracy"]) == (name, "0.5", "")
    assert json.loads((await pace("show", first, "--json")).out)["result"]["metrics"][0]["value"] == 0.5
    assert "\n" + first in (await pace("show", first, "--csv")).out
    messages = [json.loads(line)["message"] for line in (await pace("logs", first, "--json")).out.splitlines()]
    assert messages[0] == "queued"
    assert (await pace("logs", first, "--csv")).out.startswith("number,at,attempt,level,message\n1,")
    both = await pace("jobs", "--json", "--csv")
    assert (both.code, "not both" in both.told) == (2, True)


@pytest.mark.parametrize(
    ("wanted", "other"),
    [
        (("--tag", "sheet=2"), ("--tag", "sheet=3")),
        (("--tag", "sheet"), ("--tag", "sheets")),
        (("--row", "mine"), ("--row", "yours")),
        (("--state", "queued", "--state", "failed"), ("--state", "failed")),
        (("--task", "vtab-mini/digits"), ("--task", "glyphs")),
        (("--owner", "ada"), ("--owner", "bob")),
        (("--project", "default"), ("--project", "nobody")),
        (("--since", "2h"), ("--since", "2100-01-01")),
        (("--since", "2020-01-01T10:00"), ("--since", "0m")),
    ],
)
async def test_a_list_is_narrowed(pace: Pace, api: Api, wanted: tuple[str, ...], other: tuple[str, ...]) -> None:
    job = await api.submit(row="mine", tags={"sheet": "2"})
    assert [found["id"] for found in json.loads((await pace("jobs", *wanted, "--json")).out)] == [job]
    assert json.loads((await pace("jobs", *other, "--json")).out) == []
    assert ("digits" in (await pace("jobs", *wanted)).out) == (wanted[0] != "--task"), "said once is enough"
    assert (await pace("jobs", *other)).out == "no jobs like that; `pace jobs` lists all\n"


async def test_an_accuracy_stands_with_the_number_of_images_behind_it(pace: Pace, api: Api) -> None:
    await api.submit()
    job, attempt = await api.take()
    measured = result(0.85)
    measured["metrics"][0] |= {"split": "val", "samples": 1060}
    await api.end(job, attempt, "succeeded", result=measured)
    assert "succeeded 85.0 % of 1,060 (val)" in (await pace("jobs")).out
    assert "85.0 % of 1,060 (val)" in (await pace("watch", job)).out


async def test_a_job_that_waits_says_for_what(pace: Pace, api: Api) -> None:
    await api.submit()
    assert "queued waits for a worker" in (await pace("jobs")).out
    await api.lease([], all_slots=[CPU])
    assert "waits for a free slot" in (await pace("jobs")).out


async def test_jobs_are_steered(pace: Pace, api: Api) -> None:
    job = await submitted(pace)
    assert "paused" in (await pace("pause", job)).out
    assert "queued" in (await pace("resume", job)).out
    assert "cancelled" in (await pace("cancel", job)).out
    assert f"retry of {job}" in (await pace("retry", job)).out
    assert (await pace("delete", job)).code == 0
    gone = await pace("show", job)
    assert gone.code == 1
    assert job in gone.told


async def test_a_job_is_shown_with_its_result_and_files(pace: Pace, api: Api) -> None:
    job = await api.submit()
    folder = api.storage / "jobs" / job / "1"
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"weights")
    await api.finish(0.5, uri=str(folder / "adapter.safetensors"))
    said = await pace("show", job)
    assert "test/accuracy 50.0 %" in said.out
    assert "1/adapter.safetensors (7 bytes)" in said.out
    spec = yaml.safe_load(said.out[said.out.index("spec:") :])["spec"]
    assert spec["method"]["rank"] == 4
    assert list(spec)[:4] == ["task", "backbone", "method", "regularizer"]
    assert next(iter(spec["method"])) == "name"


async def test_an_adapter_is_downloaded(pace: Pace, api: Api, tmp_path: Path) -> None:
    job = await api.submit()
    folder = api.storage / "jobs" / job / "1"
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"weights")
    await api.finish(uri=str(folder / "adapter.safetensors"))
    said = await pace("download", job, tmp_path / "mine.safetensors")
    assert (said.code, (tmp_path / "mine.safetensors").read_bytes()) == (0, b"weights")


async def test_logs_are_followed_until_the_job_has_ended(pace: Pace, api: Api) -> None:
    job = await api.submit()
    following = asyncio.create_task(pace("logs", "-f", job))
    name, attempt = await api.take()
    measured = ("metrics", {"epoch": 1, "values": {"train/loss": 0.25}})
    await api.report(name, attempt, log("first words"), measured, log("epoch 1 of 3: loss 0.25"))
    await api.end(name, attempt, "succeeded", result=result())
    said = await following
    assert said.code == 0
    assert "first words" in said.out
    assert said.out.count("0.25") == 1  # an epoch is told by its line in the log alone
    assert said.out.splitlines()[-1].endswith(" succeeded (The run finished.)")


@pytest.mark.parametrize("form", ["--json", "--csv"])
async def test_a_followed_log_comes_as_json_and_csv_with_the_same_lines_as_afterwards(
    pace: Pace, api: Api, form: str
) -> None:
    job = await api.submit()
    following = asyncio.create_task(pace("logs", job, "--follow", form))
    name, attempt = await api.take()
    await api.report(name, attempt, log('says "this"\nand that'), ("stage", {"name": "train"}))
    await api.end(name, attempt, "succeeded", result=result())
    said = await following
    assert said.code == 0
    assert "and that" in said.out
    assert said.out == (await pace("logs", job, form)).out


@pytest.mark.parametrize("command", ["logs -f", "watch"])
async def test_ctrl_c_ends_the_waiting_and_says_what_goes_on(pace: Pace, api: Api, command: str) -> None:
    job = await api.submit()
    code = "from service.pace import main; main()"
    waiting = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, *command.split(), job), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert waiting.stdout
    assert waiting.stderr
    assert b"queued" in await waiting.stdout.readline()
    waiting.send_signal(signal.SIGINT)
    err = (await waiting.stderr.read()).decode()
    assert (await waiting.wait(), "Traceback" in err) == (130, False), err
    assert "go on" in err.replace("goes", "go")
    assert f"pace {command}" in err
    assert (await api.job(job))["state"] == "queued"


async def test_ctrl_c_while_nobody_answers_is_one_sentence(nowhere: Pace) -> None:
    connected = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        said = os.environ | {"PACE_URL": f"http://127.0.0.1:{port}", "PACE_API_KEY": "pace_none"}
        code = "from service.pace import main; main()"
        waiting = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, "compare", "digits"), env=said, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        await connected.wait()
        waiting.send_signal(signal.SIGINT)
        out, err = await waiting.communicate()
    assert (waiting.returncode, out, err.decode().strip()) == (130, b"", "stopped by Ctrl-C")


async def test_jobs_that_are_watched_come_in_their_order(pace: Pace, api: Api) -> None:
    jobs = [await api.submit(seed=seed) for seed in range(5)]
    for job in jobs:
        await api.act(job, "cancel")
    said = await pace("watch", *jobs)
    assert [line.split()[0] for line in said.out.splitlines()] == jobs
    assert "cancelled cancelled" not in said.out


async def test_a_narrow_terminal_gets_whole_ids_in_lines_that_fit(
    pace: Pace, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    job = await api.submit(row="a row with a long label", name="a long name " * 9)
    said = await pace("jobs")
    lines = [Text.from_ansi(line).plain for line in said.out.splitlines()]
    assert any(job in line for line in lines)
    assert any("queued" in line for line in lines)
    assert max(cell_len(line.rstrip()) for line in lines) <= 40
    told = await pace("show", "job_none")
    assert max(cell_len(Text.from_ansi(line).plain) for line in told.err.splitlines()) <= 40


async def test_a_search_is_counted_in_generations_and_its_supernet_in_epochs(pace: Pace, api: Api) -> None:
    await api.submit()
    name, attempt = await api.take()
    for stage, said in (("supernet", "supernet epoch 3/20"), ("search", "search generation 3/20")):
        await api.report(
            name, attempt, ("progress", {"stage": stage, "epoch": 3, "epochs": 20, "step": 9, "steps": 60})
        )
        assert said in (await pace("jobs")).out


async def test_watching_ends_with_the_jobs_and_tells_by_its_exit_code(pace: Pace, api: Api) -> None:
    good = await api.submit(seed=1)
    watching = asyncio.create_task(pace("watch", good))
    await api.finish(0.5)
    said = await watching
    assert said.code == 0
    assert "succeeded" in said.out
    bad = await api.submit(seed=2)
    await api.act(bad, "cancel")
    assert (await pace("watch", good, bad)).code == 1
    assert (await pace("watch")).out == "no job is waiting or running\n"


async def test_watching_a_job_that_is_not_there_is_a_sentence(pace: Pace, api: Api) -> None:
    said = await pace("watch", await api.submit(), "job_none")
    assert said.code == 1
    assert said.told.startswith("error: there is no job 'job_none'")


async def test_a_queued_job_is_shown_with_its_place_in_the_queue(pace: Pace, api: Api) -> None:
    first, second = await api.submit(), await api.submit(seed=1)
    assert "queue        the first of all" in (await pace("show", first)).out
    assert "queue        1 ahead\n" in (await pace("show", second)).out
    await api.finish(0.5)
    third = await api.submit(seed=2)
    assert "1 ahead, about 60 min as jobs end now" in (await pace("show", third)).out
