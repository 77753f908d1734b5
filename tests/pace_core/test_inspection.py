"""What a dry run says of the data."""

import csv
import io
import json
from pathlib import Path

from tests.pace_core.test_adapters import core


def spec_file(folder: Path, task: str) -> Path:
    (folder / "spec.yaml").write_text(f"""
task: {task}
method: {{name: linear}}
training: {{epochs: 3, warmup_epochs: 0, batch_size: 6}}
""")
    return folder / "spec.yaml"


def test_classes_images_and_steps_are_shown_before_a_run(pictures: Path, tmp_path: Path) -> None:
    spec = spec_file(tmp_path, f"{{name: colours, source: image_folder, path: '{pictures}', phase: final}}")
    done = core("inspect", str(spec), "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["data"]["images"] == {"train": 33, "test": 15}
    assert found["data"]["from_validation"] == 12
    assert [row["name"] for row in found["data"]["per_class"]] == ["blue", "green", "red"]
    assert [row["images"] for row in found["data"]["per_class"]] == [{"train": 11, "test": 5}] * 3
    assert (found["steps_per_epoch"], found["epochs"], found["steps"]) == (5, 3, 15)
    rows = list(csv.DictReader(io.StringIO(core("inspect", str(spec), "--csv").stdout)))
    assert [(row["class"], int(row["train"])) for row in rows] == [
        (one["name"], one["images"]["train"]) for one in found["data"]["per_class"]
    ]
    text = core("inspect", str(spec)).stdout
    assert "3 classes; images: 33 to train on, 15 to test on (12 of them validation images)" in text
    assert "5 steps an epoch, 3 epochs, 15 steps" in text


def test_the_bundled_tasks_are_counted_too(tmp_path: Path) -> None:
    found = json.loads(core("inspect", str(spec_file(tmp_path, "{name: vtab-mini/digits}")), "--json").stdout)
    assert found["data"]["images"] == {"train": 1000, "test": 1000}
    assert found["data"]["from_validation"] == 200


def test_what_the_run_would_refuse_is_refused(tmp_path: Path) -> None:
    done = core("inspect", str(spec_file(tmp_path, "{name: mine, source: image_folder, path: /nowhere}")))
    assert done.exit_code == 1
    assert "data_missing: task.path: there is no folder /nowhere" in done.stderr
