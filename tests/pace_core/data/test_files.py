"""What all sources of image files share: reading them all before training, holding few, streaming many."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from pace_core.backbones.vision import Loaded
from pace_core.data import ImageSet, Splits, StreamedImages, _files, image_folder
from pace_core.preprocessing import Preprocessing
from pace_core.spec import RunError, validate
from pace_core.stage import preprocessing_of
from tests.pace_core.data.writing import Silent, squashed, write_image

CROPPED = Preprocessing.of(augmentation="crop_flip", image_size=7, mean=(0, 0, 0), std=(1, 1, 1))


@pytest.fixture
def greys(tmp_path: Path) -> Path:
    """Two classes, ten images to train on and ten to test on each, of different shapes."""
    for split in ("train", "test"):
        for label, name in enumerate("ab"):
            for i in range(10):
                write_image(tmp_path / split / name / f"{i}.png", 100 * label + 5 * i, size=(9 + i, 12))
    return tmp_path


def load(
    root: Path, phase: str = "final", how: Preprocessing | None = None, told: Silent | None = None, **params
) -> Splits:
    given = image_folder.Params(path=str(root), **params)
    return image_folder.SOURCE.load(
        given, phase=phase, num_classes=None, preprocessing=how or squashed(8), reporter=told or Silent()
    )


@pytest.mark.parametrize("how", [squashed(8), CROPPED], ids=["squashed", "cropped"])
def test_images_to_measure_on_that_are_too_many_to_hold_are_decoded_when_they_are_needed(
    greys: Path, how: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, held = load(greys, how=how).measured
    monkeypatch.setattr(_files, "HELD_BYTES", 100)
    _, streamed = load(greys, how=how).measured
    assert (type(held), type(streamed)) == (ImageSet, StreamedImages)
    assert torch.equal(held.labels, streamed.labels)
    parts = list(streamed.chunks(how, 8))
    assert [len(part) for part in parts] == [8, 8, 4]
    assert torch.equal(torch.cat(parts), torch.cat(list(held.chunks(how, 8))))
    assert torch.equal(torch.cat(list(streamed.chunks(how, 20))), torch.cat(parts))
    (greys / "test" / "b" / "3.png").unlink()
    with pytest.raises(RunError, match=r"no file .*b/3\.png"):
        list(streamed.chunks(how, 8))


def test_streaming_stays_a_little_ahead_of_what_is_used(greys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "HELD_BYTES", 0)
    _, streamed = load(greys).measured
    assert isinstance(streamed, StreamedImages)
    many = StreamedImages(streamed.files * 50, streamed.labels.repeat(50))
    opened: list[object] = []
    whole = Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(path) or whole(path))
    next(many.chunks(squashed(8), 16))
    assert len(opened) < 100


def test_by_default_every_unreadable_file_is_listed_before_training(greys: Path) -> None:
    for name in ("train/a/0.png", "train/b/1.png", "test/a/2.png"):
        (greys / name).write_bytes(b"")
    with pytest.raises(RunError) as refused:
        load(greys)
    assert refused.value.reason == "data_corrupt"
    assert len(refused.value.message.splitlines()) == 3
    for name in ("train/a/0.png", "train/b/1.png", "test/a/2.png"):
        assert f"{name} cannot be decoded (the file is empty" in refused.value.message


def test_where_unreadable_files_are_skipped_the_rest_keeps_its_labels(greys: Path) -> None:
    for name in ("train/a/0.png", "train/b/1.png", "test/a/2.png"):
        (greys / name).write_bytes(b"")
    before = image_folder.SOURCE.fingerprint(image_folder.Params(path=str(greys)), phase="final")
    for how in (squashed(8), CROPPED):
        splits = load(greys, on_unreadable="skip", how=how)
        assert splits.train.labels.tolist() == [0] * 9 + [1] * 9
        assert splits.measured[1].labels.tolist() == [0] * 9 + [1] * 10
        values = [int(image[0, 0, 0]) for image in splits.train.images]
        assert values == [5 * i for i in range(1, 10)] + [100 + 5 * i for i in range(10) if i != 1]
    write_image(greys / "train" / "a" / "0.png", 1)
    assert image_folder.SOURCE.fingerprint(image_folder.Params(path=str(greys)), phase="final") != before


def test_nothing_is_left_where_all_files_of_a_split_are_unreadable(greys: Path) -> None:
    for path in (greys / "test").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(RunError, match="the test split is empty") as refused:
        load(greys, on_unreadable="skip")
    assert refused.value.reason == "data_missing"


def test_sixteen_bit_images_that_use_little_of_their_range_are_told(greys: Path) -> None:
    for value, dark in ((4095, True), (65535, False)):
        for path in greys.rglob("*.png"):
            Image.new("I;16", (9, 9), value).save(path)
        told = Silent()
        load(greys, told=told)
        warned = [data["message"] for kind, data in told.events if kind == "log" and data["level"] == "warning"]
        assert any("nearly black: their highest value is 4095 of 65535" in said for said in warned) == dark


@pytest.mark.parametrize(("joins", "trained"), [(True, 26), (False, 20)])
def test_the_source_says_whether_validation_images_join_a_final_training(
    greys: Path, joins: bool, trained: int
) -> None:
    for name in "ab":
        for i in range(3):
            write_image(greys / "val" / name / f"{i}.png", 1)
    assert len(load(greys, final_trains_on_val=joins).train) == trained
    assert len(load(greys, "search", final_trains_on_val=joins).train) == 20


def test_without_validation_images_a_final_training_may_leave_out_what_a_search_chose_by(greys: Path) -> None:
    assert len(load(greys).train) == 20
    final, search = (load(greys, phase, final_trains_on_val=False).train for phase in ("final", "search"))
    assert torch.equal(final.images, search.images)
    assert len(final) == 16


@pytest.mark.parametrize(
    ("task", "read"),
    [
        ({"name": "vtab-1k/cifar"}, (False, None)),
        ({"name": "fgvc/cub"}, (False, None)),
        ({"name": "fgvc-subsets/cub/50-percent"}, (False, None)),
        ({"name": "few-shot/pets/1-shot"}, (False, None)),
        ({"name": "domain-adaptation/imagenet"}, (False, None)),
        ({"name": "mine", "source": "image_folder", "path": "/photos"}, (True, "white")),
        ({"name": "mine", "source": "csv", "path": "/photos.csv"}, (True, "white")),
        ({"name": "mine", "source": "image_folder", "path": "/photos", "background": None}, (True, None)),
    ],
)
def test_published_images_are_read_as_their_authors_code_does_and_ones_own_as_one_sees_them(
    task: dict[str, Any], read: tuple[bool, str | None]
) -> None:
    """That code calls Pillow's convert("RGB"), which turns nothing and drops transparency."""
    half = (0.5, 0.5, 0.5)
    loaded = Loaded(nn.Identity(), mean=half, std=half, image_size=64, weights_hash="", family="vit")
    found = preprocessing_of(validate({"task": task, "method": {"name": "linear"}}), loaded)
    assert (found.exif, found.background) == read
