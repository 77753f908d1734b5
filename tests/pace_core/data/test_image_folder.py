"""Folders of images."""

from pathlib import Path

import pytest

from pace_core.data import image_folder
from pace_core.spec import RunError
from tests.pace_core.data.writing import Silent, squashed, write_image


def load(root: Path, phase: str = "search", num_classes: int | None = None, **params):
    given = image_folder.Params(path=str(root), **params)
    return image_folder.SOURCE.load(
        given, phase=phase, num_classes=num_classes, preprocessing=squashed(8), reporter=Silent()
    )


def write_classes(root: Path, classes: dict[str, int], per_class: int = 10) -> Path:
    for name, value in classes.items():
        for i in range(per_class):
            write_image(root / name / f"{i}.png", value + i)
    return root


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "flowers", {"rose": 200, "daisy": 50, "Iris": 100})


def test_classes_are_folders_in_code_point_order(flowers: Path) -> None:
    splits = load(flowers)
    assert splits.class_names == ("Iris", "daisy", "rose")
    for image, label in zip(splits.train.images, splits.train.labels, strict=True):
        assert (100, 50, 200)[label] <= image[0, 0, 0] < (110, 60, 210)[label]


def test_hidden_folders_and_folders_named_like_images_are_passed_over(flowers: Path) -> None:
    before = image_folder.SOURCE.fingerprint(image_folder.Params(path=str(flowers)), phase="final")
    write_image(flowers / "rose" / ".ipynb_checkpoints" / "0-checkpoint.png", 3)
    (flowers / "daisy" / "folder.png").mkdir()
    assert image_folder.SOURCE.fingerprint(image_folder.Params(path=str(flowers)), phase="final") == before
    write_image(flowers / "rose" / "more" / "0.png", 3)
    assert image_folder.SOURCE.fingerprint(image_folder.Params(path=str(flowers)), phase="final") != before


def test_folders_whose_numbers_are_equal_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    root = write_classes(tmp_path, {"1": 1, "01": 20, "10": 40, "001": 60})
    assert load(root).class_names == ("001", "01", "1", "10")


def test_folders_named_by_numbers_are_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    root = write_classes(tmp_path, {str(i): 10 * i for i in range(12)}, per_class=5)
    assert load(root).class_names == tuple(map(str, range(12)))


def test_every_class_is_cut_by_the_fractions_and_nothing_is_in_two_splits(flowers: Path) -> None:
    search, final = load(flowers, "search"), load(flowers, "final")
    assert search.train.labels.bincount().tolist() == [6, 6, 6]
    assert search.measured[1].labels.bincount().tolist() == [2, 2, 2]
    assert final.train.labels.bincount().tolist() == [8, 8, 8]
    assert final.measured[1].labels.bincount().tolist() == [2, 2, 2]
    seen = [*search.train.images[:, 0, 0, 0].tolist(), *search.measured[1].images[:, 0, 0, 0].tolist()]
    assert sorted(seen) == sorted(final.train.images[:, 0, 0, 0].tolist())
    assert not set(seen) & set(final.measured[1].images[:, 0, 0, 0].tolist())


def test_the_cut_follows_from_the_seed(flowers: Path) -> None:
    def trained(seed: int) -> list[int]:
        return load(flowers, split_seed=seed).train.images[:, 0, 0, 0].tolist()

    assert trained(0) == trained(0) != trained(1)


def test_split_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    for split, count in (("training", 6), ("valid", 3), ("test", 4)):
        write_classes(tmp_path / split, {"a": 20, "b": 120}, per_class=count)
    search, final = load(tmp_path, "search"), load(tmp_path, "final")
    assert (len(search.train), len(search.measured[1])) == (12, 6)
    assert (len(final.train), len(final.measured[1])) == (18, 8)


def test_a_search_needs_no_test_files_and_opens_none(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 20, "b": 120})
    for name in ("a", "b"):
        broken = tmp_path / "test" / name / "x.png"
        broken.parent.mkdir(parents=True)
        broken.write_bytes(b"not an image")
    assert len(load(tmp_path, "search").measured[1]) == 4
    with pytest.raises(RunError, match="cannot be decoded"):
        load(tmp_path, "final")


def test_a_final_run_without_a_test_folder_says_what_to_add(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 20, "b": 120})
    with pytest.raises(RunError, match="no test folder; add one, or run phase search"):
        load(tmp_path, "final")


def test_labels_come_from_train_and_a_class_only_others_have_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 20, "b": 120})
    write_classes(tmp_path / "val", {"b": 120, "c": 220})
    with pytest.raises(RunError, match="c is not a class in the training folder") as refused:
        load(tmp_path)
    assert refused.value.reason == "data_corrupt"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"task\.path: there is no folder .*nowhere") as refused:
        load(tmp_path / "nowhere")
    assert refused.value.reason == "data_missing"


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 1)
    with pytest.raises(RunError, match="0 class folders"):
        load(tmp_path)


def test_a_number_of_classes_that_contradicts_the_folders_is_refused(flowers: Path) -> None:
    assert load(flowers, num_classes=3).num_classes == 3
    with pytest.raises(RunError, match=r"task\.num_classes: is 5, but .* has 3 classes") as refused:
        load(flowers, num_classes=5)
    assert refused.value.reason == "spec_invalid"


def test_the_fingerprint_follows_the_contents_not_the_place(flowers: Path) -> None:
    def of(root: Path, phase: str = "search") -> str:
        return image_folder.SOURCE.fingerprint(image_folder.Params(path=str(root)), phase=phase)

    moved = flowers.rename(flowers.parent / "moved")
    before = of(moved)
    assert before == of(moved.rename(flowers))
    assert before != of(flowers, "final")
    for file in (flowers / "rose").iterdir():
        write_image(file, 1)
    assert of(flowers) != before
