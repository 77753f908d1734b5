"""The tables in docs are what this code measures: some of their numbers, measured again."""

import json
import re
from pathlib import Path

import pytest
import torch

from pace_core.run import run
from pace_core.spec import load_catalogue
from perf.backbone import COLUMNS, ClassToken, Quiet, lora, probe
from perf.methods import label, request
from service.suites.plan import plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DOCS = Path(__file__).parents[2] / "docs"
POINTS = 2.0
"""Another processor rounds otherwise, and then some of the 1,000 test images change sides."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("method", "regularizer", "task"),
    [("lora_mul_vpt_add", "pace", "cells"), ("bitfit", "none", "location"), ("fact", "pace", "digits")],
)
def test_a_cell_of_the_methods_table(method: str, regularizer: str, task: str, tmp_path: Path) -> None:
    about = {"method": method, "regularizer": regularizer, "task": task, "seed": 0}
    cells = json.loads((DOCS / "methods.json").read_text("utf-8"))["cells"]
    (committed,) = [cell for cell in cells if about.items() <= cell.items()]
    runs = plan(request([method], [task], seeds=1), load_catalogue()).runs
    (spec,) = [run.spec for run in runs if run.row == label(method, regularizer) and run.spec]
    result = run(spec, Quiet(), str(tmp_path))
    assert result.adapter_parameters == committed["parameters"]
    assert 100 * (result.value("test") or 0) == pytest.approx(100 * committed["accuracy"], abs=POINTS)


def test_the_pretrained_network_is_worth_what_the_page_says_and_an_adapter_more() -> None:
    (line,) = re.findall(r"^\| textures \|(.*)\|$", (DOCS / "backbone.md").read_text("utf-8"), re.MULTILINE)
    committed = dict(zip(["chance", *COLUMNS], map(float, line.split("|")), strict=True))
    measured = {
        "probe, random": probe(ClassToken("none"), "textures"),
        "probe, pretrained": probe(ClassToken("bundled"), "textures"),
        "LoRA, pretrained": lora("textures", "bundled"),
    }
    assert measured == pytest.approx({name: committed[name] for name in measured}, abs=POINTS)
    assert measured["probe, pretrained"] > measured["probe, random"] + 20
    assert measured["LoRA, pretrained"] > measured["probe, pretrained"] + 5
