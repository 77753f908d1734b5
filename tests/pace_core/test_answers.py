"""What a run leaves of its answers: predictions, classes, the confusion matrix and its picture."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from pace_core.answers import picture, save_answers
from pace_core.run import run
from pace_core.spec import RunSpec
from tests.pace_core.training.told import Told

LABELS = torch.tensor([0, 0, 1, 1, 1])
LOGITS = torch.tensor([[3.0, 0], [0, 3], [0, 1], [0, 1], [0, 0.5]])


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text())))


def test_predictions_classes_and_confusion_are_written(tmp_path: Path) -> None:
    counts = save_answers(LOGITS, LABELS, [f"/p/{n}.jpg" for n in range(5)], ["cat", "dog"], str(tmp_path))
    assert counts.tolist() == [[1, 1], [0, 3]]
    said = rows(tmp_path / "predictions.csv")
    assert said[1] == {"image": "/p/1.jpg", "label": "cat", "predicted": "dog", "probability": "0.952574"}
    assert [row["predicted"] for row in said] == ["cat", "dog", "dog", "dog", "dog"]
    assert rows(tmp_path / "classes.csv") == [
        {"class": "cat", "images": "2", "accuracy": "0.5", "precision": "1.0", "f1": "0.666667"},
        {"class": "dog", "images": "3", "accuracy": "1.0", "precision": "0.75", "f1": "0.857143"},
    ]
    assert (tmp_path / "confusion.csv").read_text() == "label,cat,dog\ncat,1,1\ndog,0,3\n"


@pytest.mark.parametrize("names", [["<script>&'\"", "\x1b[31m\x00red"], [f"{n}" * 30 for n in range(60)]])
def test_the_picture_is_well_formed_whatever_classes_are_called(names: list[str], tmp_path: Path) -> None:
    counts = torch.eye(len(names), dtype=torch.int64) * 3
    drawn = picture(counts, names)
    assert len(ElementTree.fromstring(drawn).findall(".//{*}rect")) == 2 + len(names)
    assert "<script>" not in drawn


def test_names_that_are_no_utf_8_and_images_without_names_are_written(tmp_path: Path) -> None:
    save_answers(LOGITS, LABELS, ["caf\udce9.jpg"] * 5, ["a", "b"], str(tmp_path / "odd"))
    assert rows(tmp_path / "odd" / "predictions.csv")[0]["image"] == "caf\\udce9.jpg"
    save_answers(LOGITS, LABELS, [], ["a", "b"], str(tmp_path))
    assert [row["image"] for row in rows(tmp_path / "predictions.csv")] == ["0", "1", "2", "3", "4"]


def test_a_run_keeps_what_it_answered_and_its_measures(make_spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    told = Told()
    result = run(make_spec(task__phase="final"), told, str(tmp_path))
    said = rows(tmp_path / "predictions.csv")
    right = sum(row["label"] == row["predicted"] for row in said)
    assert right / len(said) == pytest.approx(result.value("test"))
    assert all(Path(row["image"]).exists() and Path(row["image"]).parent.name == row["label"] for row in said)
    assert {m.metric for m in result.metrics} >= {"accuracy", "balanced_accuracy", "macro_f1", "auroc"}
    each = [float(row["accuracy"]) for row in rows(tmp_path / "classes.csv")]
    assert result.value("test", "balanced_accuracy") == pytest.approx(sum(each) / len(each), abs=1e-6)
    ElementTree.parse(tmp_path / "confusion.svg")
    if result.value("test") != 1:
        assert any(line["message"].startswith("least accurate classes: ") for line in told.of("log"))
