"""The table of results: what is averaged, what is marked, what is said."""

import asyncio
import threading
from typing import Any

import pytest

from pace_core.spec import Benchmark, load_published, load_recipes
from service.leaderboards import endpoints
from service.leaderboards.schemas import Leaderboard
from tests.service.api import Api, numbered, result

EPOCHS = load_recipes()["vtab-mini"].defaults["training"]["epochs"]
RECIPE = {"name": "vtab-mini", "row": "Linear", "task": "digits"}


async def finished(api: Api, accuracy: float, *, row: str = "Linear", task: str = "digits", **more: Any) -> str:
    """A job of the recipe that ended with that accuracy."""
    data = more.pop("data", "data-1")
    request = {"recipe": {**RECIPE, "row": row, "task": task}, "spec": None, **more}
    await api.submit(**request)
    return await api.finish(accuracy, data=data)


async def board(api: Api, query: str = "") -> dict[str, Any]:
    table = await api.get(f"/v1/leaderboards/vtab-mini{query}")
    table["rows"] = {row["label"]: row for row in table["rows"]}
    return table


async def test_runs_of_a_cell_are_averaged_over_seeds(api: Api) -> None:
    jobs = [await finished(api, accuracy, seed=seed) for seed, accuracy in enumerate((0.5, 0.6, 0.7))]
    cell = (await board(api))["rows"]["Linear"]["cells"]["digits"]
    assert cell["mean"] == pytest.approx(0.6)
    assert cell["std"] == pytest.approx(0.1)
    assert (cell["runs"], cell["seeds"], cell["jobs"]) == (3, [0, 1, 2], jobs)
    assert cell["notes"] == []
    assert cell["cell"] == (await api.job(jobs[0]))["cell"]


async def test_a_seed_that_was_run_twice_counts_once(api: Api) -> None:
    await finished(api, 0.5, seed=1)
    newer = await finished(api, 0.5, seed=1)
    cell = (await board(api))["rows"]["Linear"]["cells"]["digits"]
    assert (cell["runs"], cell["std"], cell["jobs"]) == (1, None, [newer])


@pytest.mark.parametrize("other", [{"data": "data-2"}, {"overrides": {"optimizer": {"lr": 0.1}}}])
async def test_runs_of_other_data_or_settings_are_left_out_and_the_cell_says_so(
    api: Api, other: dict[str, Any]
) -> None:
    await finished(api, 0.1, seed=1, **other)
    job = await finished(api, 0.9, seed=2)
    cell = (await board(api))["rows"]["Linear"]["cells"]["digits"]
    assert (cell["mean"], cell["jobs"]) == (0.9, [job])
    assert "1 earlier run of another cell left out" in cell["notes"][0]


async def test_a_group_s_mean_and_their_mean_are_taken_over_what_there_is_and_say_so(api: Api) -> None:
    for task, accuracy in {"digits": 0.5, "glyphs": 0.7, "textures": 0.9}.items():
        await finished(api, accuracy, task=task)
    row = (await board(api))["rows"]["Linear"]
    assert row["groups"]["natural"] == {"value": pytest.approx(0.6), "tasks": 2, "complete": True, "best": True}
    assert row["groups"]["specialized"]["complete"] is False
    assert row["mean"]["value"] == pytest.approx(0.75)  # of group means, not of tasks
    assert (row["mean"]["tasks"], row["mean"]["complete"]) == (3, False)


async def test_the_best_of_every_column_is_marked_means_only_over_the_same_tasks(api: Api) -> None:
    for task, accuracy in {"digits": 0.5, "textures": 0.5}.items():
        await finished(api, accuracy, task=task)
    for task, accuracy in {"digits": 0.8, "textures": 0.4}.items():
        await finished(api, accuracy, task=task, row="LoRA_add")
    await finished(api, 0.9, row="PACE")
    rows = (await board(api))["rows"]
    assert [label for label, row in rows.items() if row["cells"]["digits"]["best"]] == ["PACE"]
    assert rows["Linear"]["cells"]["textures"]["best"] is True
    assert [label for label, row in rows.items() if row["mean"]["best"]] == ["LoRA_add"]
    assert list(rows) == ["Linear", "LoRA_add", "PACE"]


async def test_failed_and_pending_cells_say_so(api: Api) -> None:
    await api.submit(spec=None, recipe=RECIPE, max_attempts=1)
    job, attempt = await api.take()
    await api.end(job, attempt, "nan")
    waiting = await api.submit(spec=None, recipe={**RECIPE, "task": "glyphs"})
    row = (await board(api))["rows"]["Linear"]
    failed, pending = row["cells"]["digits"], row["cells"]["glyphs"]
    assert (failed["status"], failed["jobs"], failed["notes"]) == ("failed", [job], ["1 of 1 runs without result: nan"])
    assert (pending["status"], pending["jobs"], pending["mean"]) == ("pending", [waiting], None)
    assert row["mean"] is None
    assert "digits" in row["notes"][0]


async def test_a_seed_that_failed_beside_others_is_told(api: Api) -> None:
    await finished(api, 0.5, seed=1)
    await api.submit(spec=None, recipe=RECIPE, seed=2)
    job, attempt = await api.take()
    await api.end(job, attempt, "nan")
    cell = (await board(api))["rows"]["Linear"]["cells"]["digits"]
    assert (cell["status"], cell["runs"], cell["notes"]) == ("measured", 1, ["1 of 1 runs without result: nan"])


async def test_a_row_of_another_protocol_says_where_it_departs(api: Api) -> None:
    await finished(api, 0.5, overrides={"training": {"epochs": EPOCHS + 1}})
    await finished(api, 0.5, task="glyphs", overrides={"training": {"epochs": EPOCHS + 1}, "optimizer": {"lr": 0.5}})
    row = (await board(api))["rows"]["Linear"]
    assert row["notes"] == [f"another protocol: training.epochs is {EPOCHS + 1}; recipe vtab-mini says {EPOCHS}"]
    assert row["cells"]["digits"]["notes"] == []
    assert "optimizer.lr is 0.5" in row["cells"]["glyphs"]["notes"][0]


async def test_a_row_of_one_s_own_is_compared_in_what_all_rows_share(api: Api) -> None:
    spec = {"task": {"name": "vtab-mini/digits"}, "method": {"name": "lora_add", "rank": 3}}
    await api.submit(spec=spec, row="mine")
    await api.finish(0.6)
    notes = (await board(api))["rows"]["mine"]["notes"]
    assert f"another protocol: training.epochs is 100; recipe vtab-mini says {EPOCHS}" in notes
    assert not any("method" in note for note in notes)


async def test_search_runs_stand_in_a_table_of_their_own(api: Api) -> None:
    await api.submit(spec=None, recipe=RECIPE, overrides={"task": {"phase": "search"}})
    job, attempt = await api.take()
    found = result()
    found["metrics"][0] |= {"split": "val", "value": 0.4}
    await api.end(job, attempt, "succeeded", result=found)
    assert (await board(api))["rows"] == {}
    searched = await board(api, "?phase=search")
    assert searched["rows"]["Linear"]["cells"]["digits"]["mean"] == 0.4
    assert "validation images" in searched["notes"][0]


async def test_published_rows_stand_beside_measured_ones(api: Api) -> None:
    spec = {"task": {"name": "vtab-1k/cifar"}, "method": {"name": "linear"}}
    await api.submit(spec=spec, row="Linear")
    await api.finish(0.65)
    rows = (await api.get("/v1/leaderboards/vtab-1k"))["rows"]
    measured, published = (
        next(r for r in rows if r["label"] == "Linear" and r["kind"] == k) for k in ("measured", "published")
    )
    assert measured["cells"]["cifar"]["published"] == pytest.approx(0.644)
    assert published["cells"]["cifar"]["mean"] == pytest.approx(0.644)
    assert "PACE" in published["source"]
    assert published["mean"]["complete"] is True
    assert published["mean"]["value"] == pytest.approx(0.576, abs=0.002)


async def test_the_papers_table_stands_there_as_printed_before_any_run_of_ours(api: Api) -> None:
    rows = (await api.get("/v1/leaderboards/vtab-1k"))["rows"]
    paper = {row["label"]: row for row in rows if row["source"] == "PACE, NeurIPS 2024, Table 1"}
    printed = load_published()["vtab-1k"].rows
    assert list(paper) == [row.label for row in printed]
    for row in printed:
        shown = paper[row.label]
        assert {task: cell["mean"] for task, cell in shown["cells"].items()} == pytest.approx(
            {task: value / 100 for task, value in row.values.items()}
        )
        assert shown["mean"]["value"] == pytest.approx((row.mean or 0) / 100)
        assert set(shown["groups"]) == {"natural", "specialized", "structured"}
    assert paper["PACE"]["mean"]["best"]
    assert paper["PACE"]["groups"]["structured"]["value"] == pytest.approx(0.6514, abs=1e-4)
    assert any(note.startswith("erratum: The values are SSF's") for note in paper["RepAdapter"]["notes"])


async def test_doubtful_numbers_and_means_of_another_kind_do_not_win(api: Api) -> None:
    rows = {(row["label"], row["source"][:4]): row for row in (await api.get("/v1/leaderboards/vtab-1k"))["rows"]}
    doubtful = rows["qGOFT", "GOFT"]
    assert doubtful["mean"]["value"] == pytest.approx(0.794)
    assert not doubtful["mean"]["best"]
    assert any(note.startswith("doubtful: EuroSAT at 100 %") for note in doubtful["notes"])
    assert rows["HST", "V-PE"]["mean"]["value"] == pytest.approx(0.781, abs=1e-3), "of group means, as the others"


async def test_draws_are_averaged_as_seeds_are_and_a_draw_that_was_run_twice_counts_once(api: Api) -> None:
    for draw, accuracy in ((0, 0.5), (1, 0.6), (2, 0.7), (2, 0.8)):
        spec = {"task": {"name": "few-shot/pets/1-shot", "draw": draw}, "method": {"name": "linear"}}
        await api.submit(spec=spec, row="Linear")
        await api.finish(accuracy)
    table = await api.get("/v1/leaderboards/few-shot")
    row = next(row for row in table["rows"] if row["kind"] == "measured")
    cell = row["cells"]["pets/1-shot"]
    assert (cell["runs"], cell["mean"]) == (3, pytest.approx((0.5 + 0.6 + 0.8) / 3))
    assert not any("other settings" in note for note in cell["notes"])


async def test_one_run_of_domain_adaptation_fills_five_columns_and_the_targets_have_no_runs_of_their_own(
    api: Api,
) -> None:
    task = {"name": "domain-adaptation/imagenet"}
    await api.submit(spec={"task": task, "method": {"name": "linear"}}, row="Linear")
    job, attempt = await api.take()
    said = result(0.6)
    said["metrics"] += [
        {**said["metrics"][0], "task": f"domain-adaptation/{name}", "value": value}
        for name, value in {"imagenet-a": 0.1, "imagenet-r": 0.2, "imagenet-v2": 0.5, "imagenet-sketch": 0.3}.items()
    ]
    await api.end(job, attempt, "succeeded", result=said)
    row = next(r for r in (await api.get("/v1/leaderboards/domain-adaptation"))["rows"] if r["kind"] == "measured")
    assert {name: cell["mean"] for name, cell in row["cells"].items()} == {
        "imagenet": 0.6, "imagenet-a": 0.1, "imagenet-r": 0.2, "imagenet-v2": 0.5, "imagenet-sketch": 0.3
    }  # fmt: skip
    assert row["mean"]["value"] == pytest.approx(1.7 / 5)
    assert row["cells"]["imagenet-a"]["published"] == pytest.approx(0.094)
    refused = await api.call(
        "POST",
        "/v1/jobs",
        json={"spec": {"task": {"name": "domain-adaptation/imagenet-a"}, "method": {"name": "full"}}},
    )
    assert refused.status_code == 422
    assert "is measured by every run of domain-adaptation/imagenet" in refused.text


async def test_another_normalisation_is_said_on_the_table_beside_the_published_rows(api: Api) -> None:
    network = {"name": "vit_base_patch16_224.orig_in21k", "image_size": 224, "normalization": "weights"}
    spec = {"task": {"name": "vtab-1k/cifar100"}, "backbone": network, "method": {"name": "linear"}}
    await api.submit(spec=spec, row="Linear")
    await api.finish(0.7)
    rows = (await api.get("/v1/leaderboards/vtab-1k"))["rows"]
    measured = next(row for row in rows if row["label"] == "Linear" and row["kind"] == "measured")
    assert any("backbone.normalization is 'weights'" in note for note in measured["notes"])
    assert set(measured["cells"]) == {"cifar"}


async def test_an_unknown_benchmark_is_not_found(api: Api) -> None:
    answer = await api.call("GET", "/v1/leaderboards/vtab-2k")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


async def test_many_tables_at_once_are_made_two_at_a_time_and_once_each_while_others_are_answered(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    making: list[str] = []
    at_once: list[int] = []
    goes_on = threading.Event()
    make = endpoints.leaderboard

    def slow(benchmark: Benchmark, *rest: Any) -> Leaderboard:
        making.append(benchmark.name)
        at_once.append(len(making) - done[0])
        goes_on.wait(30)
        done[0] += 1
        return make(benchmark, *rest)

    done = [0]
    monkeypatch.setattr(endpoints, "leaderboard", slow)
    await api.submit()
    await numbered(api)
    names = ["vtab-mini", "vtab-1k", "few-shot"] * 10
    asked = [asyncio.create_task(api.get(f"/v1/leaderboards/{name}?phase=search")) for name in names]
    async with asyncio.timeout(30):
        while len(making) < 2:
            await asyncio.sleep(0.01)
        assert len((await api.get("/v1/jobs"))["data"]) == 1, "no connection is left for it otherwise"
        goes_on.set()
        tables = await asyncio.gather(*asked)
    assert [table["benchmark"] for table in tables] == names
    assert sorted(making) == sorted({*names})
    assert max(at_once) == 2


async def test_who_asks_after_a_job_has_ended_is_given_no_table_that_was_begun_before(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = threading.Event(), threading.Event()
    make = endpoints.leaderboard

    def slow(*given: Any) -> Leaderboard:
        begun.set()
        goes_on.wait(30)
        return make(*given)

    async def mean() -> float | None:
        return (await board(api))["rows"]["Linear"]["cells"]["digits"]["mean"]

    await api.submit(recipe=RECIPE, spec=None)
    await numbered(api)
    monkeypatch.setattr(endpoints, "leaderboard", slow)
    before = asyncio.create_task(mean())
    await asyncio.to_thread(begun.wait, 30)
    await api.finish(0.75)
    await numbered(api)
    after = asyncio.create_task(mean())
    await api.get("/v1/jobs")
    goes_on.set()
    assert (await before, await after) == (None, 0.75)
