"""Leaderboards as pages, against the API."""

import csv
import re
from typing import Any

from tests.dashboards.conftest import Visitor
from tests.service.api import Api


async def two_seeds(api: Api) -> None:
    for seed, accuracy in enumerate((0.5, 0.75)):
        recipe = {"name": "vtab-mini", "row": "PACE", "task": "digits"}
        await api.call("POST", "/v1/jobs", json={"recipe": recipe, "seed": seed})
        await api.finish(accuracy)


def cell(page: str, row: str, task: str) -> str:
    """What stands in the table there, as a reader sees it."""
    line = page.partition(f'data-row="{row}"')[2].partition("</tr>")[0]
    return re.sub(
        r"\s+", " ", re.sub(r"<[^>]+>", " ", line.partition(f'data-task="{task}">')[2].partition("</td>")[0])
    ).strip()


async def test_every_number_is_the_apis(member: Visitor, api: Api) -> None:
    await two_seeds(api)
    for name in ("vtab-mini", "vtab-1k"):
        board: dict[str, Any] = await api.get(f"/v1/leaderboards/{name}")
        page = (await member.get(f"/leaderboards/{name}")).text
        labels = [row["label"] for row in board["rows"]]
        seen = 0
        for row in (row for row in board["rows"] if labels.count(row["label"]) == 1):
            for task, known in row["cells"].items():
                if known["mean"] is not None:
                    assert cell(page, row["label"], task).startswith(f"{100 * known['mean']:.1f}"), (row["label"], task)
                    seen += 1
        assert seen >= 1
    mine = cell((await member.get("/leaderboards/vtab-mini")).text, "PACE", "digits")
    assert mine == "62.5 ± 17.7 2 seeds"


async def test_a_column_orders_the_rows(member: Visitor) -> None:
    page = (await member.get("/leaderboards/vtab-1k?sort=cifar")).text
    values = [float(value) for value in re.findall(r'data-task="cifar">\s*([\d.]+)', page)]
    assert values == sorted(values, reverse=True)
    assert len(values) > 10
    assert 'aria-sort="descending"' in page


async def test_a_group_shows_its_tasks_alone(member: Visitor) -> None:
    page = (await member.get("/leaderboards/vtab-1k?group=natural")).text
    assert 'data-task="cifar"' in page
    assert 'data-task="eurosat"' not in page


async def test_errata_and_protocols_are_notes(member: Visitor) -> None:
    page = (await member.get("/leaderboards/vtab-1k")).text
    assert "erratum: The printed mean does not follow from the values" in page.partition('id="notes"')[2]


async def test_tables_are_downloaded(member: Visitor, api: Api) -> None:
    await two_seeds(api)
    answer = await member.get("/leaderboards/vtab-mini?download=csv")
    (line,) = [line for line in csv.DictReader(answer.text.splitlines()) if line["mean"]]
    assert (line["row"], line["task"], line["mean"], line["runs"]) == ("PACE", "digits", "0.625", "2")
    assert "attachment" in answer.headers["content-disposition"]
    assert (await member.get("/leaderboards/vtab-1k?download=bibtex")).text.startswith("@")
    board = (await member.get("/leaderboards/vtab-mini?download=json")).json()
    assert board["rows"][0]["cells"]["digits"]["mean"] == 0.625


async def test_a_task_of_ones_own_has_a_table(member: Visitor, api: Api, tmp_path: Any) -> None:
    assert (await member.get("/leaderboards?task=my photos")).headers["location"] == "/leaderboards/my%20photos"
