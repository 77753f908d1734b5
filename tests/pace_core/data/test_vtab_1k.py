"""VTAB-1K folders as users have them."""

import shutil
from pathlib import Path

import pytest

from pace_core.data import vtab_1k
from pace_core.spec import RunError, load_benchmarks
from tests.pace_core.data.writing import Silent, squashed, write_image, write_vtab_task

LABELS = {"train800": [0, 1, 3, 2], "val200": [3, 0], "train800val200": [0, 3, 1, 0, 3, 2], "test": [1, 2, 2]}


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    return write_vtab_task(tmp_path / "kitti", LABELS)


def load(root: Path, phase: str = "search", task: str = "kitti", num_classes: int | None = 4, reporter=None):
    params = vtab_1k.Params(path=str(root), task=task)
    return vtab_1k.SOURCE.load(
        params, phase=phase, num_classes=num_classes, preprocessing=squashed(8), reporter=reporter or Silent()
    )


def test_a_search_trains_on_train800_and_measures_on_val200(kitti: Path) -> None:
    splits = load(kitti.parent)
    assert splits.measured[0] == "val"
    assert splits.train.labels.tolist() == LABELS["train800"]
    assert splits.train.images[:, 0, 0, 0].tolist() == [0, 11, 32, 23]
    assert splits.measured[1].labels.tolist() == LABELS["val200"]


def test_a_final_run_trains_on_train800val200_and_measures_on_test(kitti: Path) -> None:
    splits = load(kitti.parent, "final")
    assert splits.measured[0] == "test"
    assert splits.train.labels.tolist() == LABELS["train800val200"]
    assert splits.measured[1].labels.tolist() == LABELS["test"]


def test_a_search_works_with_every_test_file_gone(kitti: Path) -> None:
    shutil.rmtree(kitti / "images" / "test")
    (kitti / "test.txt").unlink()
    (kitti / "train800val200.txt").unlink()
    assert len(load(kitti.parent).train) == 4
    params = vtab_1k.Params(path=str(kitti.parent), task="kitti")
    assert len(vtab_1k.SOURCE.fingerprint(params, phase="search")) == 64


def test_the_number_of_classes_is_the_benchmarks_whatever_the_lists_hold(kitti: Path) -> None:
    (kitti / "train800.txt").write_text("images/train800/000000.jpg 0\n")
    assert load(kitti.parent, num_classes=None).num_classes == 4
    with pytest.raises(RunError, match=r"task\.num_classes: is 3, but kitti has 4 classes"):
        load(kitti.parent, num_classes=3)


def test_lines_are_split_from_the_right(kitti: Path) -> None:
    write_image(kitti / "images" / "a car 2.jpg", 77)
    (kitti / "train800.txt").write_text("images/a car 2.jpg 3\r\n")
    splits = load(kitti.parent)
    assert (splits.train.labels.tolist(), splits.train.images[0, 0, 0, 0].item()) == ([3], 77)


def test_a_folder_may_bear_the_tasks_other_name(tmp_path: Path) -> None:
    write_vtab_task(tmp_path / "oxford_pet", LABELS)
    assert load(tmp_path, task="oxford_iiit_pet", num_classes=37).num_classes == 37


def test_labels_out_of_range_and_broken_lines_are_all_named_with_their_line(kitti: Path) -> None:
    lines = (kitti / "train800.txt").read_text().splitlines()
    lines[1] = lines[1].replace(" 1", " 4")
    lines[3] = "images/train800/000003.jpg"
    (kitti / "train800.txt").write_text("\n".join(lines))
    with pytest.raises(RunError) as refused:
        load(kitti.parent)
    assert refused.value.reason == "data_corrupt"
    assert "kitti/train800.txt line 2: label 4 is out of range 0..3" in refused.value.message
    assert "kitti/train800.txt line 4: 'images/train800/000003.jpg' is not" in refused.value.message


def test_missing_and_corrupt_images_are_named_with_list_and_line_before_training(kitti: Path) -> None:
    (kitti / "images/train800/000001.jpg").unlink()
    with pytest.raises(RunError, match=r"train800.txt line 2: there is no file .*000001\.jpg") as missing:
        load(kitti.parent)
    assert missing.value.reason == "data_missing"
    truncated = kitti / "images/val200/000001.jpg"
    truncated.write_bytes(truncated.read_bytes()[:45])
    with pytest.raises(RunError) as broken:
        load(kitti.parent)
    assert broken.value.reason == "data_corrupt"
    assert "train800.txt line 2: there is no file" in broken.value.message
    assert "val200.txt line 2:" in broken.value.message
    assert "cannot be decoded" in broken.value.message


def test_of_many_missing_images_twenty_are_named_and_the_rest_counted(kitti: Path) -> None:
    (kitti / "train800.txt").write_text("".join(f"gone/{i}.jpg 0\n" for i in range(33)))
    with pytest.raises(RunError) as refused:
        load(kitti.parent)
    lines = refused.value.message.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 13 more like these"


def test_a_missing_root_task_or_list_is_named(tmp_path: Path, kitti: Path) -> None:
    with pytest.raises(RunError, match=r"task\.path: there is no folder .*elsewhere"):
        load(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="has no folder cifar or cifar100"):
        load(tmp_path, task="cifar", num_classes=100)
    (kitti / "val200.txt").unlink()
    with pytest.raises(RunError, match=r"kitti/val200\.txt: there is no file"):
        load(kitti.parent)


def test_another_number_of_test_images_is_a_warning(kitti: Path) -> None:
    told = Silent()
    load(kitti.parent, "final", reporter=told)
    warnings = [data["message"] for kind, data in told.events if kind == "log" and data["level"] == "warning"]
    assert warnings == ["kitti: test.txt has 3 images, the published numbers are over 711"]


def test_every_task_of_the_benchmark_has_a_published_test_size() -> None:
    assert all(task.images["test"] > 0 for task in load_benchmarks()["vtab-1k"].tasks)
