"""Few-shot folders with NOAH's lists, right and wrong."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pace_core.data import few_shot
from pace_core.spec import RunError, cell_hash
from tests.pace_core.data.benchmarks_on_disk import write_few_shot
from tests.pace_core.data.writing import Silent, squashed


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_few_shot(tmp_path / "oxford-pets", 37)


def params(root: Path, task: str = "pets", **more: Any) -> few_shot.Params:
    return few_shot.Params.model_validate({"path": str(root), "task": task, "shots": 1, **more})


def load(given: few_shot.Params, phase: str = "search"):
    return few_shot.SOURCE.load(given, phase=phase, num_classes=None, preprocessing=squashed(4), reporter=Silent())


@pytest.mark.parametrize("folder", ["stanford-cars", "standford-cars", "stanford_cars"])
@pytest.mark.parametrize("images", ["images", "."])
def test_every_spelling_and_both_places_of_the_images_are_found(tmp_path: Path, folder: str, images: str) -> None:
    write_few_shot(tmp_path / folder, 196, images=images)
    splits = load(params(tmp_path, "cars"), "final")
    assert splits.train.labels.tolist() == list(range(196))
    assert splits.train.images[:, 0, 0, 0].tolist() == list(range(196))


def test_a_final_run_trains_on_the_few_images_alone_and_a_draw_is_another_list(pets: Path) -> None:
    first, second = (load(params(pets, draw=draw), "final") for draw in (0, 1))
    assert len(first.train) == len(second.train) == 37
    assert first.train.images[0, 0, 0, 0] == 0
    assert second.train.images[0, 0, 0, 0] == 50
    assert first.measured[0] == "test"


def test_draws_share_a_cell_so_that_they_are_averaged_and_other_data_does_not(pets: Path) -> None:
    hashes = [few_shot.SOURCE.fingerprint(params(pets, draw=draw), phase="final") for draw in range(3)]
    assert len(set(hashes)) == 1
    cells = {cell_hash({"task": {"name": "few-shot/pets/1-shot", "draw": draw}}, hashes[0], "w") for draw in range(3)}
    assert len(cells) == 1
    (pets / "annotations" / few_shot.train_list(1, 2)).write_text("c0/d0_0.jpg 0\n" * 37)
    with pytest.raises(RunError, match="has no image of 36 of the 37 classes, such as label 1"):
        few_shot.SOURCE.fingerprint(params(pets), phase="final")


def test_a_search_works_with_the_test_split_unreadable_and_a_final_run_says_so(pets: Path) -> None:
    (pets / "annotations" / "test_meta.list").unlink()
    for image in pets.rglob("test.jpg"):
        image.unlink()
    assert load(params(pets)).measured[0] == "val"
    assert few_shot.SOURCE.fingerprint(params(pets), phase="search")
    with pytest.raises(RunError, match=r"oxford-pets/test_meta\.list: there is no file") as refused:
        load(params(pets), "final")
    assert refused.value.reason == "data_missing"


def test_the_doubled_one_shot_list_of_pets_is_kept(tmp_path: Path) -> None:
    home = write_few_shot(tmp_path / "oxford-pets", 37, times=2)
    assert len(load(params(home)).train) == 74


def test_labels_that_count_from_one_are_told_so(pets: Path) -> None:
    file = pets / "annotations" / "val_meta.list"
    file.write_text("".join(f"c{label}/val.jpg {label + 1}\n" for label in range(37)))
    with pytest.raises(RunError, match=r"label 37 is out of range 0\.\.36[\s\S]*count from 1 \(1\.\.37\)"):
        load(params(pets))


def test_a_missing_list_or_data_set_is_named(pets: Path) -> None:
    shutil.move(pets / "annotations" / "train_meta.list.num_shot_1.seed_0", pets / "elsewhere")
    with pytest.raises(RunError, match=r"there is no file .*num_shot_1\.seed_0"):
        load(params(pets))
    with pytest.raises(RunError, match="has no folder food101 or food-101"):
        load(params(pets.parent, "food101"))


def test_a_label_of_thousands_of_digits_is_a_faulty_line(pets: Path) -> None:
    file = pets / "annotations" / "val_meta.list"
    file.write_text(f"c0/val.jpg 0\nc1/val.jpg {'1' * 5000}\n")
    with pytest.raises(RunError, match=r"oxford-pets/val_meta\.list line 2: .* is not a path, a space and a label"):
        load(params(pets))
