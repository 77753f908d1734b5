"""The command line `pace` against a real API over a real Postgres."""

import asyncio
import csv
import io
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.cells import cell_len

from pace_core.spec import load_benchmarks, load_published
from service.client.cli.submit import parse_overrides
from tests.service.api import SPEC, Api
from tests.service.client.commands import LORA, Pace, submitted
from tests.service.test_suites import current


async def test_a_recipes_row_is_submitted_and_the_next_commands_are_named(pace: Pace, api: Api) -> None:
    said = await pace(*LORA, "--set", "method.rank=4", "--set", "optimizer.lr=1e-3", "--seed", "7", "--tag", "sheet=2")
    assert said.code == 0
    job = await api.job(said.out.split()[1])
    assert (job["row"], job["seed"], job["tags"]) == ("LoRA_add", 7, {"sheet": "2"})
    assert (job["spec"]["method"]["rank"], job["spec"]["optimizer"]["lr"]) == (4, 1e-3)
    assert f"pace logs -f {job['id']}" in said.out
    assert "waits" in said.out
    assert "none has connected yet" in said.out


async def test_the_command_says_what_is_done_and_how_to_run_it_again(pace: Pace, api: Api) -> None:
    job = await submitted(pace)
    name, attempt = await api.take()
    await api.end(name, attempt, "succeeded", result=current(0.5))
    said = await pace(*LORA)
    assert said.code == 0
    assert f"done already by {job}" in said.out
    assert "--again" in said.out
    assert f"done already by {job}" in " ".join((await pace(*LORA, "--dry-run")).out.split())
    assert (await pace(*LORA, "--again")).out.startswith("submitted job_")


async def test_a_file_is_submitted(pace: Pace, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(SPEC | {"optimizer": {"lr": 1e-3}}).replace("0.001", "1e-3"))
    assert (await api.job(await submitted(pace, "submit", str(file))))["spec"]["optimizer"]["lr"] == 1e-3


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
    [("task: [", "it is not YAML"), ("- a\n", "it has no sections"), (None, "No such file")],
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


async def test_a_time_that_is_none_is_told(nowhere: Pace) -> None:
    for text in ("yesterday", "9999999h", "2026-13-01"):
        said = await nowhere("jobs", "--since", text)
        assert (said.code, "a time ago such as 30m" in " ".join(said.told.replace("│", " ").split())) == (2, True)


async def test_errors_fit_a_hundred_columns_and_break_no_path(nowhere: Pace, tmp_path: Path) -> None:
    file = tmp_path / ("x" * 120) / "spec.yaml"
    said = await nowhere("submit", file)
    assert str(file) in said.err
    file = tmp_path / "spec.yaml"
    file.write_text("task: {name: vtab-mini/digits}\nmethod: {name: full}\nregularizer: {name: pace}\n")
    said = await nowhere("submit", file)
    assert "methods that do:" in said.told
    assert max(len(line) for line in said.err.splitlines()) <= 100


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
    only = (await pace("leaderboard", "vtab-mini", "--row", "Linear")).out
    assert ("30.0" in only, "LoRA_add" in only) == (True, False)
    typo = await pace("leaderboard", "vtab-mini", "--row", "Lineer")
    assert (typo.code, "did you mean 'Linear'?" in typo.told) == (1, True)
    unknown = await pace("leaderboard", "vtab-maxi")
    assert unknown.code == 1
    assert "vtab-mini" in unknown.told


async def test_the_papers_table_is_printed_exactly_before_any_run(pace: Pace) -> None:
    said = (await pace("leaderboard", "vtab-1k")).out
    benchmark, paper = load_benchmarks()["vtab-1k"], load_published()["vtab-1k"]
    numbers = of_rows(said)
    for row in paper.rows:
        shown = iter(numbers[row.label])
        for group in benchmark.groups:
            values = [row.values[task.name] for task in benchmark.tasks if task.group == group.name]
            assert [next(shown) for _ in values] == [f"{value:.1f}" for value in values], row.label
            assert float(next(shown)) == pytest.approx(statistics.fmean(values), abs=0.05 + 1e-6), row.label
        assert list(shown) == [f"{row.mean:.1f}"], row.label
    assert "Natural" in said
    assert "published, where no note says otherwise: PACE, NeurIPS 2024, Table 1" in " ".join(said.split())


def of_rows(printed: str) -> dict[str, list[str]]:
    """Label of a published row → its numbers, over the parts into which a wide table is broken; the first row of it."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"\n *row ", printed):
        seen: set[str] = set()
        for line in part.splitlines():
            label, published, numbers = line.partition(" (published)")
            if published and label.strip() not in seen:
                seen.add(label.strip())
                found.setdefault(label.strip(), []).extend(re.findall(r"\d+\.\d(?=\*| |$)", numbers))
    return found


async def test_what_a_table_quotes_can_be_cited(pace: Pace, nowhere: Pace) -> None:
    said = await pace("leaderboard", "vtab-1k", "--bibtex")
    assert said.out.startswith("@inproceedings{ni2024pace,")
    assert {"zhao2024dyt", "jie2023binary"} <= set(re.findall(r"^@\w+\{(\w+),$", said.out, re.MULTILINE))
    assert "quotes nothing" in (await pace("leaderboard", "vtab-mini", "--bibtex")).told
    one = await nowhere("catalogue", "published", "few-shot-noah", "--bibtex")
    assert re.findall(r"^@\w+\{(\w+),$", one.out, re.MULTILINE) == ["zhang2022noah"]
    assert (await nowhere("catalogue", "published", "--bibtex")).out.count("\n@") > 8
    assert "published" in (await nowhere("catalogue", "methods", "--bibtex")).told
    assert "--bibtex alone" in (await nowhere("catalogue", "published", "--bibtex", "--csv")).told


async def test_a_number_of_runs_that_is_the_same_for_all_is_said_once(pace: Pace, api: Api) -> None:
    await _measured(pace, api, "Linear", 0, 0.3)
    assert "accuracy in percent, one run each" in (await pace("leaderboard", "vtab-mini")).out
    await _measured(pace, api, "Linear", 1, 0.5)
    said = (await pace("leaderboard", "vtab-mini")).out
    assert "mean ± std of 2 runs each" in said
    assert "40.0 ± 14.1* " in said


async def _measured(pace: Pace, api: Api, row: str, seed: int, accuracy: float) -> None:
    await submitted(pace, "submit", "--recipe", "vtab-mini", "--row", row, "--task", "digits", "--seed", str(seed))
    await api.finish(accuracy)


async def test_the_resolved_spec_is_shown_without_submitting(pace: Pace) -> None:
    said = await pace(*LORA, "--dry-run")
    assert yaml.safe_load(said.out.split("\n\n")[0])["method"]["name"] == "lora_add"
    as_json = json.loads((await pace(*LORA, "--dry-run", "--json")).out)
    assert (as_json["spec"]["method"]["name"], as_json["inspection"]) == ("lora_add", None)
    assert "no jobs" in (await pace("jobs")).out


@pytest.mark.parametrize(
    "kind", ["methods", "regularizers", "sources", "backbones", "sections", "benchmarks", "recipes"]
)
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


@pytest.mark.parametrize(
    "kind", ["methods", "regularizers", "sources", "backbones", "sections", "benchmarks", "recipes"]
)
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
