"""`pace compare`: what finished jobs say of rows over seeds, and how sure it is."""

import csv
import io
import json
import re
from xml.etree import ElementTree

import pytest
from rich.cells import cell_len
from scipy import stats

from service.client.comparison import NothingToCompare, Row, Run, compare, difference, student_t
from tests.service.api import Api
from tests.service.client.commands import Pace

OWN = {
    "task": {"name": "my-images", "source": "image_folder", "path": "/data"},
    "method": {"name": "lora_add", "rank": 4},
}


async def measured(api: Api, accuracies: dict[int, float], row: str | None = None, **more: object) -> None:
    """Finished jobs, one a seed."""
    for seed, accuracy in accuracies.items():
        await api.submit(**{"spec": OWN, "seed": seed, "row": row} | more)
        await api.finish(accuracy)


def over(values: list[float], first: int = 0) -> dict[Run, float]:
    """Values of seeds from `first` on."""
    return {Run(seed): value for seed, value in enumerate(values, first)}


def test_students_t_agrees_with_scipy() -> None:
    for freedom in (1, 1.37, 2, 5, 29.5, 400):
        assert student_t(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-6)


def test_a_difference_over_common_seeds_is_paired_and_another_is_welchs() -> None:
    ours, theirs = [0.9, 0.8, 0.85], [0.7, 0.75, 0.72]
    paired = difference(Row("a", over(ours), []), Row("b", over(theirs), []))
    want = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (paired.low, paired.high) == (pytest.approx(want.low), pytest.approx(want.high))
    assert (paired.paired, paired.common) == (True, [Run(0), Run(1), Run(2)])
    apart = difference(Row("a", over(ours), []), Row("b", over(theirs, 7), []))
    want = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert (apart.low, apart.high) == (pytest.approx(want.low), pytest.approx(want.high))
    assert (apart.paired, apart.mean) == (False, pytest.approx(paired.mean))
    single = difference(Row("a", over([0.9]), []), Row("b", over([0.7]), []))
    assert (single.mean, single.low) == (pytest.approx(0.2), None)


async def test_a_task_of_ones_own_is_compared_over_seeds(pace: Pace, api: Api) -> None:
    await measured(api, {0: 0.50, 1: 0.60, 2: 0.55}, "LoRA")
    await measured(api, {0: 0.60, 1: 0.72, 2: 0.66}, "PACE")
    await measured(api, {0: 0.40}, "Linear")
    said = await pace("compare", "my-images", "--versus", "lora")
    assert said.code == 0, said.err
    line = next(line for line in said.out.splitlines() if "PACE" in line)
    assert re.search(r"3 +0–2 +66\.0 ± 6\.0\* +3\.5 +\+11\.0 +\+8\.5 to \+13\.5 +3", line), line
    assert "too few runs" in next(line for line in said.out.splitlines() if "Linear" in line)
    assert "test images (phase final)" in said.out
    assert max(map(cell_len, said.out.splitlines())) <= 100
    rows = list(csv.DictReader(io.StringIO((await pace("compare", "my-images", "--csv")).out)))
    assert [row["row"] for row in rows] == ["LoRA", "PACE", "Linear"]
    assert (rows[1]["pairing"], float(rows[1]["difference"])) == ("paired", pytest.approx(0.11))
    whole = json.loads((await pace("compare", "my-images", "--json")).out)
    assert (whole["versus"], whole["rows"][1]["values"]) == ("LoRA", {"0": 0.60, "1": 0.72, "2": 0.66})
    assert "| PACE | 3 | 0–2 | 66.0 ± 6.0* |" in (await pace("compare", "my-images", "--md")).out


async def test_a_row_is_the_mean_over_draws_and_seeds_as_in_the_leaderboard(pace: Pace, api: Api) -> None:
    values = {"LoRA": (0.2, 0.4, 0.6, 0.3, 0.5, 0.7), "PACE": (0.3, 0.5, 0.7, 0.4, 0.6, 0.8)}
    for row, measured_on in values.items():
        rank = 2 if row == "LoRA" else 4
        for place, accuracy in enumerate(measured_on):
            task = {"name": "few-shot/pets/4-shot", "draw": place % 3}
            spec = {"task": task, "method": {"name": "lora_add", "rank": rank}}
            await measured(api, {place // 3: accuracy}, row, spec=spec)
    said = await pace("compare", "few-shot/pets/4-shot")
    assert said.code == 0, said.err
    lines = [line.split() for line in said.out.splitlines() if line.strip().startswith(("LoRA", "PACE"))]
    assert [line[:7] for line in lines] == [
        ["LoRA", "6", "0,1", "0–2", "45.0", "±", "18.7"],
        ["PACE", "6", "0,1", "0–2", "55.0", "±", "18.7*"],
    ]
    assert lines[1][-5:] == ["+10.0", "+10.0", "to", "+10.0", "6"], "each minus its counterpart of equal seed and draw"
    table = await api.get("/v1/leaderboards/few-shot")
    means = {row["label"]: row["cells"]["pets/4-shot"]["mean"] for row in table["rows"] if row["kind"] == "measured"}
    assert means == {"LoRA": pytest.approx(0.45), "PACE": pytest.approx(0.55)}
    whole = json.loads((await pace("compare", "few-shot/pets/4-shot", "--json")).out)
    assert list(whole["rows"][0]["values"]) == ["0/0", "0/1", "0/2", "1/0", "1/1", "1/2"]


async def test_the_picture_shows_every_run_and_survives_every_label(pace: Pace, api: Api) -> None:
    await measured(api, {0: 0.50, 1: 0.60}, "<script>&\"' 宽" * 10)
    await measured(api, {0: 0.70, 1: 0.70}, "a | *b* \\ `c`\n[red]")
    drawn = (await pace("compare", "my-images", "--svg")).out
    picture = ElementTree.fromstring(drawn)
    assert len(picture.findall("{*}circle")) == 4
    assert not re.search(r"url\(|href|<script", drawn)
    assert "a \\| \\*b\\* \\\\ \\`c\\` \\[red\\]" in (await pace("compare", "my-images", "--md")).out
    assert (await pace("compare", "my-images", "--md")).out.count("\n| ") == 4, "a head, its line, and a line each"


async def test_settings_that_differ_under_one_label_are_rows_of_their_own(pace: Pace, api: Api) -> None:
    await measured(api, {0: 0.5, 1: 0.6})
    await measured(api, {0: 0.7, 1: 0.8}, overrides={"method": {"rank": 8}})
    await measured(api, {1: 0.9}, overrides={"method": {"rank": 8}})
    rows = list(csv.DictReader(io.StringIO((await pace("compare", "my-images", "--csv")).out)))
    assert [(row["row"], row["n"], float(row["mean"])) for row in rows] == [
        ("lora_add (rank=4)", "2", pytest.approx(0.55)),
        ("lora_add (rank=8)", "2", pytest.approx(0.8)),
    ]
    assert "1 older run of the same seed and settings left out" in (await pace("compare", "my-images")).out


async def test_what_cannot_be_compared_says_why(pace: Pace, api: Api) -> None:
    assert "there are no such jobs" in (await pace("compare", "my-images")).told
    await api.submit(spec=OWN)
    assert "none of the 1 job of my-images has a result yet: 1 queued" in (await pace("compare")).told
    await api.finish(0.5)
    await api.submit(name="another")
    await api.finish(0.5)
    assert "of 2 tasks; name one: my-images, vtab-mini/digits" in (await pace("compare")).told
    assert (
        "there is no row 'PACE'; there are 'lora_add'" in (await pace("compare", "my-images", "--versus", "PACE")).told
    )
    assert "1 job of the other phase" in (await pace("compare", "my-images", "--phase", "search")).told
    with pytest.raises(NothingToCompare):
        compare([])


async def test_a_task_of_ones_own_has_a_leaderboard(pace: Pace, api: Api) -> None:
    await measured(api, {0: 0.50, 1: 0.60}, "LoRA")
    await measured(api, {0: 0.70, 1: 0.80}, "PACE")
    board = await api.get("/v1/leaderboards/my-images")
    assert [(row["label"], row["cells"]["my-images"]["mean"]) for row in board["rows"]] == [
        ("LoRA", pytest.approx(0.55)),
        ("PACE", pytest.approx(0.75)),
    ]
    said = await pace("leaderboard", "my-images")
    assert "75.0 ± 7.1*" in said.out
    rows = list(csv.DictReader(io.StringIO((await pace("leaderboard", "my-images", "--csv")).out)))
    assert [(row["row"], row["runs"], row["seeds"]) for row in rows] == [("LoRA", "2", "0 1"), ("PACE", "2", "0 1")]
    assert json.loads((await pace("leaderboard", "my-images", "--json")).out)["rows"][0]["label"] == "LoRA"
    assert "no runs in phase search" in (await pace("leaderboard", "my-images", "--phase", "search")).out
    assert "no task of that name" in (await pace("leaderboard", "yours")).told
    odd = {**OWN, "task": {**OWN["task"], "name": "my/odd name?#"}}
    await measured(api, {0: 0.25}, "LoRA", spec=odd)
    assert "25.0*" in (await pace("leaderboard", "my/odd name?#")).out
