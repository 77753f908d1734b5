"""`python -m pace_core data check` and `data add`: what a machine has of a benchmark, told once."""

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pace_core.commands import app
from pace_core.data import vtab_1k
from pace_core.places import places
from pace_core.spec import RunError
from tests.pace_core.data.benchmarks_on_disk import write_domains, write_few_shot, write_fgvc
from tests.pace_core.data.writing import write_vtab_task


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("PACE_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "500")


def said(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["data", *arguments])


def kitti(root: Path) -> Path:
    labels = {"train800": [0, 1, 2, 3], "val200": [0, 1], "train800val200": [0, 1, 2, 3, 0, 1], "test": [0, 1, 2, 3]}
    return write_vtab_task(root / "kitti", labels)


def test_a_part_of_a_benchmark_is_told_apart_from_what_is_missing(tmp_path: Path) -> None:
    kitti(tmp_path)
    answer = said("check", "vtab-1k", "--root", str(tmp_path))
    assert answer.exit_code == 1
    assert "✓ kitti  train 4, val 2, train+val 6, test 4" in answer.output
    assert "test: 4 images, the published numbers are of 711" in answer.output
    assert "has no folder cifar or cifar100" in " ".join(answer.output.split())
    assert "1 of 19 tasks can be run; the mean of the benchmark needs all" in answer.output
    rows = list(csv.DictReader(io.StringIO(said("check", "vtab-1k", "--root", str(tmp_path), "--csv").output)))
    of_kitti = [(row["split"], row["images"]) for row in rows if row["task"] == "kitti"]
    assert of_kitti == [("train", "4"), ("val", "2"), ("train+val", "6"), ("test", "4")]
    assert all("has no folder" in row["faults"] for row in rows if row["task"] == "cifar")


def test_missing_and_broken_files_and_missing_classes_are_named(tmp_path: Path) -> None:
    home = kitti(tmp_path)
    (home / "images/test/000003.jpg").write_bytes(b"no image")
    (home / "images/val200/000001.jpg").unlink()
    lines = (home / "train800.txt").read_text().splitlines()
    (home / "train800.txt").write_text("\n".join(lines[:3]))
    answer = said("check", "vtab-1k", "--root", str(tmp_path))
    assert "✗ kitti" in answer.output
    assert "val: 1 of 2 files are missing: " in answer.output
    assert "kitti/test.txt line 4:" in answer.output
    assert "train: 1 of the 4 classes have no image" in answer.output


def test_the_traps_of_few_shot_are_explained(tmp_path: Path) -> None:
    write_few_shot(tmp_path / "oxford-pets", 37, times=2)
    answer = said("check", "few-shot", "--root", str(tmp_path))
    assert "✓ pets/1-shot  train 74, val 37, test 37" in answer.output
    assert "train: 37 images are listed twice" in answer.output
    assert "name each of 37 images twice" in answer.output


def test_the_trap_of_caltech_is_explained(tmp_path: Path) -> None:
    labels = {split: list(range(101)) for split in ("train800", "val200", "train800val200", "test")}
    write_vtab_task(tmp_path / "caltech101", labels)
    answer = said("check", "vtab-1k", "--root", str(tmp_path))
    assert "train: 1 of the 102 classes have no image" in answer.output
    assert "102 classes: 101 objects and background_google. Variants without the background have 101" in answer.output


@pytest.mark.parametrize("folder", ["stanford-cars", "standford-cars", "stanford_cars"])
def test_the_misspelt_folder_of_cars_is_found(tmp_path: Path, folder: str) -> None:
    write_few_shot(tmp_path / folder, 196)
    assert "✓ cars/1-shot  train 196, val 196, test 196" in said("check", "few-shot", "--root", str(tmp_path)).output


def test_the_trap_of_kaggles_cars_is_explained(tmp_path: Path) -> None:
    home = write_fgvc(tmp_path / "Stanford-cars", "cars_train", list(range(1, 197)))
    for split in ("train", "val", "test"):
        said_ids = json.loads((home / f"{split}.json").read_text())
        named = {f"car_ims/{number:06d}.jpg": each for number, each in enumerate(said_ids.values())}
        (home / f"{split}.json").write_text(json.dumps(named))
    answer = said("check", "fgvc", "--root", str(tmp_path))
    assert "✗ stanford_cars" in answer.output
    assert "the images are of Kaggle's copy, which numbers each split anew" in answer.output


def test_the_trap_of_nabirds_is_explained(tmp_path: Path) -> None:
    write_fgvc(tmp_path / "nabirds", "images", list(range(555)), missing_in_val=frozenset({3}))
    answer = said("check", "fgvc", "--root", str(tmp_path))
    assert "✓ nabirds  train 555, val 554, test 555" in answer.output
    assert "val.json misses classes 627 and 975" in answer.output


def test_other_domains_are_counted_too(tmp_path: Path) -> None:
    write_domains(tmp_path)
    answer = said("check", "domain-adaptation", "--root", str(tmp_path))
    assert "imagenet-v2 3" in answer.output
    assert "imagenet-v2: 3 images, the published numbers are of 10,000" in answer.output
    assert "sorted as text they are not" in answer.output


def test_where_data_lies_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kitti(tmp_path / "vtab")
    params = vtab_1k.Params(task="kitti")
    with pytest.raises(RunError, match=r"has not been told where vtab-1k lies; .*data add vtab-1k FOLDER") as refused:
        vtab_1k.SOURCE.fingerprint(params, phase="search")
    assert refused.value.reason == "data_missing"
    assert said("add", "vtab-1k", str(tmp_path / "vtab")).exit_code == 0
    assert len(vtab_1k.SOURCE.fingerprint(params, phase="search")) == 64
    assert "1 of 19 tasks" in said("check", "vtab-1k").output
    monkeypatch.setenv("PACE_DATA", f"vtab-1k={tmp_path / 'gone'}:fgvc=/data/fgvc")
    assert places()["fgvc"] == "/data/fgvc"
    with pytest.raises(RunError, match=r"gone on this machine \(told by PACE_DATA"):
        vtab_1k.SOURCE.fingerprint(params, phase="search")


def test_what_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "did you mean 'vtab-1k'" in said("check", "vtab1k").output
    assert "vtab-mini is drawn on the spot" in said("add", "vtab-mini", str(tmp_path)).output
    assert said("add", "fgvc-subsets", str(tmp_path)).exit_code == 0
    assert places() == {"fgvc": str(tmp_path)}, "whose images it shares"
    assert "there is no folder" in said("add", "vtab-1k", str(tmp_path / "gone")).output
    monkeypatch.setenv("PACE_DATA", "/data/vtab")
    with pytest.raises(RunError, match="'/data/vtab' is not BENCHMARK=FOLDER"):
        places()
