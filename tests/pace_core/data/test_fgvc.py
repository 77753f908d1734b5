"""FGVC in VPT's layout, right and wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pace_core.data import fgvc
from pace_core.spec import RunError
from tests.pace_core.data.benchmarks_on_disk import write_fgvc
from tests.pace_core.data.writing import Silent, squashed

IDS: dict[str, list[int | str]] = {
    "cub": [f"{number:03d}" for number in range(1, 201)],
    "oxford_flowers": list(range(1, 103)),
    "stanford_dogs": list(range(1, 121)),
}


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    return write_fgvc(tmp_path / "OxfordFlower", ".", IDS["oxford_flowers"])


def load(root: Path, task: str = "oxford_flowers", phase: str = "search", **more: Any):
    params = fgvc.Params.model_validate({"path": str(root), "task": task, **more})
    return fgvc.SOURCE.load(params, phase=phase, num_classes=None, preprocessing=squashed(4), reporter=Silent())


@pytest.mark.parametrize(
    ("task", "folder", "images"),
    [("cub", "CUB_200_2011", "images"), ("cub", "CUB_200_2011", "CUB_200_2011/images"),
     ("stanford_dogs", "Stanford-dogs", "Images"), ("stanford_dogs", "Stanford-dogs", "images/Images")],
)  # fmt: skip
def test_every_layout_of_the_images_is_found(tmp_path: Path, task: str, folder: str, images: str) -> None:
    write_fgvc(tmp_path / folder, images, IDS[task])
    for root in (tmp_path, tmp_path / folder):
        splits = load(root, task, "final")
        assert splits.num_classes == len(IDS[task])
        assert splits.train.labels.tolist() == list(range(len(IDS[task])))
        assert splits.train.images[:, 0, 0, 0].tolist() == list(range(len(IDS[task])))


def test_classes_are_those_of_train_whatever_the_other_splits_miss(tmp_path: Path) -> None:
    ids: list[int | str] = list(range(295, 1011))[:555]
    write_fgvc(tmp_path / "nabirds", "images", ids, missing_in_val=frozenset({ids[3], ids[200]}))
    splits = load(tmp_path, "nabirds")
    labels = splits.measured[1].labels.tolist()
    assert splits.num_classes == 555
    assert len(labels) == 553
    assert labels[3] == 4, "the fourth class of val is the fifth of train"


def test_a_search_works_with_the_test_split_unreadable_and_a_final_run_says_so(flowers: Path) -> None:
    (flowers / "test.json").unlink()
    for image in flowers.rglob("test.jpg"):
        image.unlink()
    assert load(flowers).measured[0] == "val"
    assert len(fgvc.SOURCE.fingerprint(fgvc.Params(path=str(flowers), task="oxford_flowers"), phase="search")) == 64
    with pytest.raises(RunError, match=r"OxfordFlower/test\.json: there is no file") as refused:
        load(flowers, phase="final")
    assert refused.value.reason == "data_missing"


def test_a_final_run_trains_on_train_alone(flowers: Path) -> None:
    splits = load(flowers, phase="final")
    assert len(splits.train) == 102
    assert splits.report.from_validation == 0


def test_a_share_is_of_the_file_where_there_is_one_else_of_every_class(tmp_path: Path) -> None:
    home = write_fgvc(tmp_path / "OxfordFlower", ".", list(range(1, 103)))
    said = json.loads((home / "train.json").read_text())
    for number in range(9):
        for each in range(1, 103):
            shutil.copy(home / f"{each}/train.jpg", home / f"{each}/t{number}.jpg")
            said[f"{each}/t{number}.jpg"] = each
    (home / "train.json").write_text(json.dumps(said))
    half, again = (load(home, percent=50).train.labels for _ in range(2))
    assert half.bincount().tolist() == [5] * 102
    assert half.equal(again)
    (home / "train_50.json").write_text(json.dumps({"1/train.jpg": 1, "2/t3.jpg": 2}))
    assert load(home, percent=50).train.labels.tolist() == [0, 1]
    assert load(home, percent=50).num_classes == 102, "classes are those of the whole training split"
    (home / "train_50.json").write_text(json.dumps({"1/val.jpg": 1}))
    with pytest.raises(RunError, match=r"train_50\.json: val\.jpg is no image of train\.json"):
        load(home, percent=50)


def test_cars_of_kaggle_under_the_distributed_names_are_refused_with_the_reason(tmp_path: Path) -> None:
    home = tmp_path / "Stanford-cars"
    (home / "cars_train" / "cars_train").mkdir(parents=True)
    for split in ("train", "val", "test"):
        said = {f"car_ims/{number:06d}.jpg": number for number in range(1, 197)}
        (home / f"{split}.json").write_text(json.dumps(said))
    with pytest.raises(RunError, match="the names cannot be matched by number"):
        load(tmp_path, "stanford_cars")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("[1, 2]", "must be one object of image path to class id"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("{}", "names no images"),
        ('{"1/train.jpg": 1}', "names 1 classes, not 102; take the train.json of the whole training split"),
        ('{"1/train.jpg": null}', "must be one object"),
    ],
)
def test_a_train_json_that_is_none_is_named(flowers: Path, said: str, message: str) -> None:
    (flowers / "train.json").write_text(said)
    with pytest.raises(RunError, match=rf"OxfordFlower/train\.json:? {message}"):
        load(flowers)


def test_class_ids_of_another_distribution_are_named(flowers: Path) -> None:
    said = json.loads((flowers / "val.json").read_text())
    (flowers / "val.json").write_text(json.dumps({path: each - 1 for path, each in said.items()}))
    with pytest.raises(
        RunError, match=r"1 class ids that train\.json does not have, such as 0; train\.json.s run from 1 to 102"
    ):
        load(flowers)
