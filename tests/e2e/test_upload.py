"""A folder of images goes from upload to accuracy by the README's three commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.images import image_folder
from tests.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

SPEC = """
task: {name: my-photos, source: uploaded, dataset: photos}
backbone: {name: pace_vit_mini, image_size: 32}
method: {name: lora_add, rank: 2}
training: {epochs: 2, batch_size: 16}
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with the user's photos and a spec, which the workers may not read."""
    image_folder(tmp_path / "photos", per_class=20)
    (next((tmp_path / "photos").iterdir()) / "notes.txt").write_text("taken in May")
    (tmp_path / "uploaded.yaml").write_text(SPEC)
    return tmp_path


def pace(stack: Stack, here: Path, *words: str) -> str:
    environment = {**os.environ, "PACE_URL": stack.url, "PACE_API_KEY": stack.folder.read_client()["key"]}
    command = [sys.executable, "-c", "from service.pace import main; main()", *words]
    ran = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return ran.stdout


def test_three_commands_lead_from_a_folder_to_its_accuracy(stack: Stack, here: Path) -> None:
    said = pace(stack, here, "dataset", "upload", "photos")
    assert "photos  ready" in said
    assert "task: {name: photos, source: uploaded, dataset: photos}" in " ".join(said.split())
    pace(stack, here, "submit", "uploaded.yaml")
    (job,) = stack.client.jobs.list(task="my-photos")
    assert stack.client.jobs.wait(job.id).state == "succeeded"
    board = json.loads(pace(stack, here, "leaderboard", "my-photos", "--json"))
    (row,) = board["rows"]
    assert 0.1 < row["cells"]["my-photos"]["mean"] <= 1

    (found,) = stack.client.datasets.list()
    images = [file for file in (here / "photos").glob("*/*") if file.suffix != ".txt"]
    assert (found.state, sum(found.data.images.values())) == ("ready", len(images))
    assert {passed.why for passed in found.data.passed_over} == {"ending .txt"}
    files = {file.path.partition("/")[2] for file in stack.client.jobs.artifacts(job.id)}
    assert {"adapter.safetensors", "predictions.csv", "classes.csv", "confusion.csv", "confusion.svg"} <= files
    again = pace(stack, here, "dataset", "upload", "photos")
    assert found.id in again, "the same folder is the same upload"


def test_a_spec_cannot_read_the_uploads_of_others_by_their_path(stack: Stack, here: Path) -> None:
    pace(stack, here, "dataset", "upload", "photos", "--name", "others")
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "pace" / ".datasets"
    (unpacked, *_) = [each for each in cache.iterdir() if each.is_dir()]
    spec = {"task": {"name": "x", "source": "image_folder", "path": str(unpacked)}, "method": {"name": "linear"}}
    ended = stack.submit(spec | {"training": {"epochs": 0}}).ended()
    assert (ended.job.state, ended.job.reason) == ("failed", "data_missing")
    assert "lies outside the folders" in ended.job.message
