"""Tasks of texts in the service: what is refused, which number counts, and the paper's table beside it."""

from typing import Any

import pytest

from tests.service.api import Api, result

SPEC = {"backbone": {"name": "FacebookAI/roberta-base"}, "method": {"name": "lora_add", "rank": 4}}


async def finished(api: Api, task: str, metric: str, last: float, best: float, seed: int = 0) -> str:
    """A job of GLUE whose dev set was measured after every epoch."""
    await api.submit(spec={**SPEC, "task": {"name": f"glue/{task}"}, "seed": seed}, row="LoRA")
    job, attempt = await api.take()
    measured = [("val", last, 9), ("val", 0.123, 9), ("best_val", best, 4)]
    metrics = [
        {"task": f"glue/{task}", "split": split, "metric": name, "value": value, "epoch": epoch}
        for (split, value, epoch), name in zip(measured, (metric, "auroc", metric), strict=True)
    ]
    await api.end(job, attempt, "succeeded", result={**result(), "metrics": metrics})
    return job


async def board(api: Api, query: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    table = await api.get(f"/v1/leaderboards/glue{query}")
    return table, {(row["kind"], row["label"]): row for row in table["rows"]}


async def test_the_best_epoch_counts_by_the_tasks_own_measure_and_seeds_by_their_median(api: Api) -> None:
    for seed, best in enumerate((0.60, 0.61, 0.66)):
        await finished(api, "cola", "matthews", 0.5, best, seed)
    _, rows = await board(api)
    cell = rows["measured", "LoRA"]["cells"]["cola"]
    assert (cell["mean"], cell["runs"]) == (pytest.approx(0.61), 3)
    assert cell["published"] == pytest.approx(0.634)


async def test_the_paper_stands_beside_it_in_the_phase_that_is_reported(api: Api) -> None:
    table, rows = await board(api)
    assert table["phase"] == "search"
    printed = rows["published", "LoRA+PACE"]
    assert (printed["cells"]["stsb"]["mean"], printed["mean"]["value"]) == (pytest.approx(0.92), pytest.approx(0.876))
    assert not any("to choose settings by" in note for note in table["notes"])
    assert any("begin with the adapter of MNLI" in note for note in table["notes"])
    _, final = await board(api, "?phase=final")
    assert final == {}


async def test_the_task_that_others_begin_from_is_no_part_of_the_mean(api: Api) -> None:
    await finished(api, "mnli", "accuracy", 0.8, 0.9)
    await finished(api, "sst2", "accuracy", 0.8, 0.94)
    _, rows = await board(api)
    mean = rows["measured", "LoRA"]["mean"]
    assert (mean["value"], mean["tasks"], mean["complete"]) == (pytest.approx(0.94), 1, False)
    assert rows["published", "LoRA"]["mean"]["complete"] is True


async def test_a_job_on_texts_with_a_network_for_images_is_refused_with_the_cure(api: Api) -> None:
    request = {"spec": {"task": {"name": "glue/sst2"}, "method": {"name": "lora_add"}}}
    answer = await api.call("POST", "/v1/jobs", json=request)
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == "/spec/backbone/name"
    assert "reads images, and the task is of texts" in fault["message"]


async def test_a_suite_of_glue_measures_the_dev_sets_without_being_told(api: Api) -> None:
    row = {"label": "Linear", "spec": {"method": {"name": "linear"}}}
    suite = {"benchmark": "glue", "tasks": ["sst2"], "rows": [row]}
    answer = await api.call("POST", "/v1/suites", json=suite)
    assert answer.status_code == 202, answer.text
    assert answer.json()["phase"] == "search"
