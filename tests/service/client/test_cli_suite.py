"""`pace suite`: a table as one command."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.service.api import Api
from tests.service.client.commands import Pace
from tests.service.test_suite_search import walk
from tests.service.test_suites import end_all

SHORT = (
    "suite",
    "submit",
    "--benchmark",
    "vtab-mini",
    "--tasks",
    "digits",
    "--rows",
    "Linear,LoRA_add",
    "--seeds",
    "0,1",
)


async def test_a_suite_prints_plan_and_cost_and_ends_with_its_table(pace: Pace, api: Api) -> None:
    running = asyncio.create_task(pace(*SHORT))
    async with asyncio.timeout(60):
        while not (await api.get("/v1/suites"))["data"]:
            await asyncio.sleep(0.05)
    await end_all(api, {"Linear": 0.5, "LoRA_add": 0.75})
    said = await running
    assert said.code == 0, said.err
    plan, cost, *rest = said.out.splitlines()
    assert plan == "4 runs (2 rows × 1 task × 2 seeds): 4 to run"
    assert "of one slot, estimated for a CPU" in cost
    assert any("LoRA_add" in line and "75.0 ± 0.0" in line for line in rest), said.out


async def test_a_failed_suite_says_what_helps(pace: Pace, api: Api) -> None:
    await pace(*SHORT, "--detach")
    await end_all(api, {"Linear": 0.5, "LoRA_add": "nan"})
    (suite,) = (await api.get("/v1/suites"))["data"]
    said = await pace("suite", "show", suite["id"], "--wait")
    assert "failed" in said.out
    assert "nan: The loss stopped being a finite number" in " ".join(said.out.split())
    assert (await pace("suite", "retry", suite["id"])).out.startswith(f"{suite['id']}  running  2 queued, 2 succeeded")
    assert "2 cancelled" in (await pace("suite", "cancel", suite["id"])).out
    assert "4 of 4" in (await pace("suite", "list")).out


async def test_a_file_makes_a_suite_and_options_win_over_it(pace: Pace, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "benchmark: vtab-mini\ntasks: [digits]\nrows: [Linear, {label: mine, spec: {method: {name: linear}}}]\n"
    )
    said = await pace("suite", "submit", file, "--seeds", "0-2", "--dry-run")
    assert said.out.startswith("6 runs (2 rows × 1 task × 3 seeds): 6 to run"), said.err
    assert (await api.get("/v1/suites"))["data"] == []
    await pace("suite", "submit", file, "--detach")
    assert [suite["name"] for suite in (await api.get("/v1/suites"))["data"]] == ["mine"]


@pytest.mark.parametrize(
    ("wanted", "other"),
    [
        (("--task", "digits"), ("--task", "glyphs")),
        (("--task", "vtab-mini/digits"), ("--task", "vtab-maxi/digits")),
        (("--row", "Linear"), ("--row", "PACE")),
        (("--owner", "ada"), ("--owner", "bob")),
        (("--project", "default"), ("--project", "nobody")),
        (("--search", "100% OF"), ("--search", "100_ of")),
        (("--since", "2h"), ("--since", "0m")),
        (("--open",), ("--ended",)),
    ],
)
async def test_a_list_of_suites_is_narrowed(
    pace: Pace, api: Api, wanted: tuple[str, ...], other: tuple[str, ...]
) -> None:
    made = json.loads((await pace(*SHORT, "--name", "100% of it", "--detach", "--json")).out)
    found = json.loads((await pace("suite", "list", *wanted, "--json")).out)
    assert [suite["id"] for suite in found] == [made["id"]]
    assert json.loads((await pace("suite", "list", *other, "--json")).out) == []


async def test_a_suite_has_ended_with_its_last_job(pace: Pace, api: Api) -> None:
    await pace(*SHORT, "--detach")
    await end_all(api, {"Linear": 0.5, "LoRA_add": "nan"})
    assert [len((await api.get(f"/v1/suites?ended={ended}"))["data"]) for ended in ("true", "false")] == [1, 0]
    searching = await pace("suite", "submit", "--task", "vtab-mini/digits", "--rows", "Linear", "--json")
    assert (searching.code, "--dry-run or --detach" in searching.told) == (2, True)


async def test_a_plan_comes_as_json(pace: Pace, api: Api) -> None:
    plan = json.loads((await pace(*SHORT, "--dry-run", "--json")).out)
    assert (plan["new"], len(plan["runs"]), plan["rows"]) == (4, 4, ["Linear", "LoRA_add"])
    assert (await api.get("/v1/suites"))["data"] == []


async def test_pairs_of_methods_and_regularizers_need_no_recipe(pace: Pace, api: Api) -> None:
    said = await pace(
        *("suite", "submit", "--benchmark", "vtab-mini", "--tasks", "digits", "--dry-run"),
        *("--methods", "lora_add,linear", "--regularizers", "none,pace"),
    )
    assert said.out.startswith("4 runs (4 rows × 1 task × 1 seed): 3 to run, 1 refused"), said.err
    assert "refused: linear + pace on digits: regularizer" in said.out


async def test_the_table_comes_in_every_form(pace: Pace, api: Api) -> None:
    await pace(*SHORT, "--detach")
    await end_all(api)
    (suite,) = (await api.get("/v1/suites"))["data"]
    said = {
        form: (await pace("suite", "show", suite["id"], f"--{form}")).out
        for form in ("csv", "md", "latex", "svg", "json")
    }
    assert said["csv"].splitlines()[1].startswith("Linear,measured,digits,measured,0.5,0.0,2,0 1,")
    assert "| Linear | **50.0 ± 0.0 (2)** |" in said["md"]
    assert r"\textbf{50.0 $\pm$ 0.0 (2)}" in said["latex"]
    assert said["svg"].startswith("<svg ")
    assert json.loads(said["json"])["table"]["suite"] == suite["id"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("suite", "submit", "--benchmark", "vtab-mini"), "name --rows of a recipe"),
        ((*SHORT[:-1], "one"), "must be whole numbers"),
        (("suite", "extend", "suite_1"), "say what to add"),
        (("suite", "show", "suite_1"), "there is no suite 'suite_1'"),
        (("suite", "show", "suite_1", "--md", "--svg"), "give one of"),
        (("suite", "submit", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
async def test_what_is_wrong_is_told(pace: Pace, arguments: tuple[str, ...], says: str) -> None:
    said = await pace(*arguments)
    assert said.code > 0
    assert says in said.told


async def test_a_suite_that_searches_says_how_much_that_is_and_shows_what_it_found(
    pace: Pace, api: Api, tmp_path: Path
) -> None:
    file = tmp_path / "searched.yaml"
    file.write_text(
        "benchmark: vtab-mini\ntasks: [digits]\nrows: [PACE]\nseeds: [0]\n"
        "search: {space: {regularizer.sigma: [0.1, 0.5], regularizer.lambda: [0.02, 0.1]}}\n"
    )
    said = await pace("suite", "submit", file, "--detach")
    plan, searches, cost, *_ = said.out.splitlines()
    assert plan == "1 run (1 row × 1 task × 1 seed): 1 to run", said.err
    assert searches.startswith("before them 1 study of 4 trials on validation images, 12 epochs together: 5 jobs")
    assert "of one slot" in cost
    await walk(api, {"regularizer.sigma": 0.5, "regularizer.lambda": 0.02})
    await end_all(api, 0.8)
    (suite,) = (await api.get("/v1/suites"))["data"]
    shown = (await pace("suite", "show", suite["id"], "--wait")).out
    assert "80.0" in shown
    line = next(line for line in shown.splitlines() if "4 of 4" in line)
    assert "90.0" in line
    assert "regularizer.sigma 0.5" in " ".join(shown.split())


async def test_a_spec_makes_a_suite_with_a_row_of_each_regularizer(pace: Pace, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "photos.yaml"
    file.write_text(
        "task: {name: vtab-mini/digits}\nmethod: {name: lora_add, rank: 2}\n"
        "regularizer: {name: pace, sigma: 0.7}\ntraining: {epochs: 2}\n"
    )
    said = await pace("suite", "submit", file, "--regularizers", "none,pace", "--seeds", "0,1", "--detach")
    assert said.out.startswith("4 runs (2 rows × 1 task × 2 seeds): 4 to run"), said.err
    jobs = (await api.get("/v1/jobs"))["data"]
    assert {job["row"] for job in jobs} == {"lora_add", "lora_add + pace"}
    assert {job["spec"]["regularizer"].get("sigma") for job in jobs} == {None, 0.7}
    assert {(job["spec"]["method"]["rank"], job["spec"]["training"]["epochs"], job["phase"]) for job in jobs} == {
        (2, 2, "final")
    }
    only = await pace("suite", "submit", file, "--seeds", "0", "--dry-run")
    assert only.out.startswith("1 run (1 row × 1 task × 1 seed): 0 to run, 1 waiting or running already"), only.err


async def test_a_task_of_a_benchmark_needs_no_file(pace: Pace) -> None:
    command = ("suite", "submit", "--task", "vtab-mini/digits", "--rows", "Linear", "--seeds", "0", "--dry-run")
    assert (await pace(*command)).out.startswith("1 run (1 row × 1 task × 1 seed): 1 to run")
