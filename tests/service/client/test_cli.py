"""The command line `pace` against a real API over a real Postgres."""

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

from service.client.cli.submit import parse_overrides
from tests.service.api import CPU, SPEC, Api, log, result
from tests.service.client.commands import Pace

LORA = ("submit", "--recipe", "vtab-mini", "--row", "LoRA_add", "--task", "digits")


async def _submitted(pace: Pace, *arguments: str) -> str:
    said = await pace(*(arguments or LORA))
    assert said.code == 0, said.err
    return said.out.split()[1]


async def test_a_recipes_row_is_submitted_and_the_next_commands_are_named(pace: Pace, api: Api) -> None:
    said = await pace(*LORA, "--set", "method.rank=4", "--set", "optimizer.lr=1e-3", "--seed", "7", "--tag", "sheet=2")
    assert said.code == 0
    job = await api.job(said.out.split()[1])
    assert (job["row"], job["seed"], job["tags"]) == ("LoRA_add", 7, {"sheet": "2"})
    assert (job["spec"]["method"]["rank"], job["spec"]["optimizer"]["lr"]) == (4, 1e-3)
    assert f"pace logs -f {job['id']}" in said.out
    assert "waits" in said.out
    assert "none has connected yet" in said.out


async def test_a_file_is_submitted(pace: Pace, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(SPEC | {"optimizer": {"lr": 1e-3}}).replace("0.001", "1e-3"))
    assert (await api.job(await _submitted(pace, "submit", str(file))))["spec"]["optimizer"]["lr"] == 1e-3


async def test_all_faults_are_told_without_a_service(nowhere: Pace, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("task: {name: vtab-mini/digitz}\nmethod: {name: lora_add, rnak: 4}\nseed: -1\n")
    said = await nowhere("submit", file)
    assert said.code == 1
    assert said.err.splitlines()[0] == "error: the spec has 3 faults:"
    assert "task.name: " in said.told
    assert "did you mean 'digits'?" in said.told
    assert "method.rnak: " in said.told
    assert "seed: " in said.told


@pytest.mark.parametrize(
    ("text", "why"),
    [("task: [", "it is no YAML"), ("- a\n", "no object of sections"), (None, "No such file")],
    ids=["broken", "list", "missing"],
)
async def test_a_file_that_is_no_spec_is_named(nowhere: Pace, tmp_path: Path, text: str | None, why: str) -> None:
    file = tmp_path / "spec.yaml"
    if text is not None:
        file.write_text(text)
    said = await nowhere("submit", file)
    assert said.code == 1
    assert str(file) in said.told
    assert why in said.told


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit",),
        ("submit", "--recipe", "vtab-mini"),
        ("submit", "a.yaml", "--recipe", "vtab-mini"),
        (*LORA, "--set", "rank"),
        (*LORA, "--set", "method.rank=["),
    ],
)
async def test_a_command_that_lacks_something_says_what(nowhere: Pace, arguments: tuple[str, ...]) -> None:
    said = await nowhere(*arguments)
    assert said.code == 2
    assert "Invalid value" in said.told


async def test_without_a_service_the_cure_is_told(nowhere: Pace, monkeypatch: pytest.MonkeyPatch) -> None:
    said = await nowhere("jobs")
    assert said.code == 1
    assert said.told.startswith("error: no service is known here; start one with `pace up`")
    monkeypatch.setenv("PACE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PACE_API_KEY", "pace_x")
    assert "no service answers at http://127.0.0.1:9; start one with `pace up`" in (await nowhere("jobs")).told


async def test_a_wrong_key_is_told(pace: Pace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACE_API_KEY", "pace_wrong")
    said = await pace("jobs")
    assert said.code == 1
    assert "unknown, expired or revoked" in said.told


async def test_a_list_of_jobs_fits_a_hundred_columns_and_cuts_no_id_and_no_number(pace: Pace, api: Api) -> None:
    for name in ("a" * 200, "宽" * 200, "[red]\x1b[2J\nsecond line", ""):
        job = await api.submit(name=name, row=(name or "LoRA")[:150])
        await api.finish(0.5)
        said = await pace("jobs")
        line = next(line for line in said.out.splitlines() if job in line)
        assert "succeeded 50.0 %" in line
        assert "ada" in line, "whose it is"
        assert max(cell_len(line) for line in said.out.splitlines()) <= 100
        assert "\x1b" not in said.out


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


async def test_a_time_that_is_none_is_told(nowhere: Pace) -> None:
    for text in ("yesterday", "9999999h", "2026-13-01"):
        said = await nowhere("jobs", "--since", text)
        assert (said.code, "a time ago such as 30m" in " ".join(said.told.replace("│", " ").split())) == (2, True)


async def test_a_job_that_waits_says_for_what(pace: Pace, api: Api) -> None:
    await api.submit()
    assert "queued waits for a worker" in (await pace("jobs")).out
    await api.lease([], all_slots=[CPU])
    assert "waits for a free slot" in (await pace("jobs")).out


async def test_errors_fit_a_hundred_columns_and_break_no_path(nowhere: Pace, tmp_path: Path) -> None:
    file = tmp_path / ("x" * 120) / "spec.yaml"
    said = await nowhere("submit", file)
    assert str(file) in said.err
    file = tmp_path / "spec.yaml"
    file.write_text("task: {name: vtab-mini/digits}\nmethod: {name: full}\nregularizer: {name: pace}\n")
    said = await nowhere("submit", file)
    assert "methods that do:" in said.told
    assert max(len(line) for line in said.err.splitlines()) <= 100


async def test_jobs_are_steered(pace: Pace, api: Api) -> None:
    job = await _submitted(pace)
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


async def test_a_leaderboard_is_printed_with_its_best_and_its_notes(pace: Pace, api: Api) -> None:
    for row, seed, accuracy in (("LoRA_add", 0, 0.4), ("LoRA_add", 1, 0.6), ("Linear", 0, 0.3)):
        await _measured(pace, api, row, seed, accuracy)
    said = await pace("leaderboard", "vtab-mini")
    assert said.code == 0
    assert "50.0 ± 14.1 (2)*" in said.out
    assert "30.0 (1)" in said.out
    assert "30.0 (1)*" not in said.out
    assert "no runs yet: glyphs, " in said.out
    assert "–" not in said.out, "no column that nothing is in"
    assert "mean ± std (runs)" in said.out
    unknown = await pace("leaderboard", "vtab-maxi")
    assert unknown.code == 1
    assert "vtab-mini" in unknown.told


async def test_a_number_of_runs_that_is_the_same_for_all_is_said_once(pace: Pace, api: Api) -> None:
    await _measured(pace, api, "Linear", 0, 0.3)
    assert "accuracy in percent, one run each" in (await pace("leaderboard", "vtab-mini")).out
    await _measured(pace, api, "Linear", 1, 0.5)
    said = (await pace("leaderboard", "vtab-mini")).out
    assert "mean ± std of 2 runs each" in said
    assert "40.0 ± 14.1* " in said


async def _measured(pace: Pace, api: Api, row: str, seed: int, accuracy: float) -> None:
    await _submitted(pace, "submit", "--recipe", "vtab-mini", "--row", row, "--task", "digits", "--seed", str(seed))
    await api.finish(accuracy)


async def test_the_resolved_spec_is_shown_without_submitting(pace: Pace) -> None:
    said = await pace(*LORA, "--dry-run")
    assert yaml.safe_load(said.out.split("\n\n")[0])["method"]["name"] == "lora_add"
    assert "no jobs" in (await pace("jobs")).out


@pytest.mark.parametrize("kind", ["methods", "regularizers", "sources", "backbones", "benchmarks", "recipes"])
async def test_the_catalogue_is_known_without_a_service(nowhere: Pace, kind: str) -> None:
    said = await nowhere("catalogue", kind)
    assert said.code == 0
    assert len(said.out.splitlines()) > 4


def test_whoever_stops_reading_hears_no_complaint() -> None:
    code = "from service.client.cli import main; main()"
    running = subprocess.Popen(
        [sys.executable, "-c", code, "catalogue", "methods", "--csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout
    running.stdout.close()
    assert running.communicate()[1] == b""


def test_letters_that_the_terminal_lacks_end_no_command() -> None:
    code = "from service.client.cli import main; main()"
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii", "LANG": "C", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, "catalogue", "benchmarks"], env=ascii_only, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"vtab-mini/digits" in done.stdout


@pytest.mark.parametrize("kind", ["methods", "regularizers", "sources", "backbones", "benchmarks", "recipes"])
async def test_the_catalogue_comes_as_json_and_csv(nowhere: Pace, kind: str) -> None:
    as_json = json.loads((await nowhere("catalogue", kind, "--json")).out)
    as_csv = list(csv.DictReader(io.StringIO((await nowhere("catalogue", kind, "--csv")).out)))
    assert as_json
    assert len(as_csv) >= len(as_json)
    table = await nowhere("catalogue", kind)
    assert max(cell_len(line) for line in table.out.splitlines()) <= 100
    assert all(row[next(iter(row))] in table.out for row in as_csv if ":" not in row[next(iter(row))])


async def test_a_methods_parameters_are_explained(nowhere: Pace) -> None:
    assert "rank" in (await nowhere("catalogue", "methods", "lora_add")).out
    misspelt = await nowhere("catalogue", "methods", "lora_ad")
    assert misspelt.code == 1
    assert "did you mean 'lora_add'?" in misspelt.told
    assert "recipes are listed whole" in (await nowhere("catalogue", "recipes", "vtab-mini")).told


def test_settings_are_read_as_yaml() -> None:
    texts = ["a.b=1", "a.c=1e-3", "a.d=true", "a.e=text", "f=[1, 2]", "g=null"]
    assert parse_overrides(texts) == {
        "a": {"b": 1, "c": 1e-3, "d": True, "e": "text"},
        "f": [1, 2],
        "g": None,
    }


async def test_status_waits_until_every_part_has_said_that_it_is_ready(pace: Pace, api: Api, base_url: str) -> None:
    waiting = asyncio.create_task(pace("status", "--wait"))
    for part in ("dispatcher", "ray", "studies", "tracking", "mlflow"):
        assert not waiting.done()
        body = {"part": part, "ok": True, "detail": ""}
        key = api.keys.worker if part in ("dispatcher", "ray", "studies") else api.keys.tracking
        await api.call("POST", "/v1/heartbeats", json=body, key=key)
    said = await waiting
    assert said.code == 0
    assert {"mlflow is ready", "ray is ready"} <= set(said.out.splitlines())
    assert said.out.splitlines()[-1] == f"API docs  {base_url}/docs"


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What commands go on as, in place of doing so."""
    calls: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda program, arguments: calls.append(arguments))
    return calls


async def test_training_here_needs_no_service(nowhere: Pace, became: list[list[str]]) -> None:
    assert (await nowhere("train", "spec.yaml", "--out", "there")).code == 0
    assert (await nowhere("train", "--help")).code == 0
    train = [sys.executable, "-m", "pace_core", "train"]
    assert became == [[*train, "spec.yaml", "--out", "there"], [*train, "--help"]]


async def test_mlflow_is_filled_again_with_the_key_of_tracking(
    nowhere: Pace, became: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert (await nowhere("tracking", "rebuild")).code == 1
    for name in ("PACE_URL", "PACE_API_KEY", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
    (tmp_path / "state").mkdir()
    said = {"url": "http://a", "key": "user", "mlflow_url": "http://b"}
    (tmp_path / "state" / "client.json").write_text(json.dumps(said))
    (tmp_path / "state" / "keys.json").write_text(json.dumps({"tracking": "events", "worker": "leases"}))
    assert (await nowhere("tracking", "rebuild")).code == 0
    assert became == [[sys.executable, "-m", "worker", "track", "--rebuild"]]
    assert (os.environ["PACE_URL"], os.environ["PACE_API_KEY"]) == ("http://a", "events")
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://b"
