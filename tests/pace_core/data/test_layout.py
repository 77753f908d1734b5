"""What is used of a folder of images, and what is passed over with a word."""

import os
import socket
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from pace_core.data import image_folder
from pace_core.spec import RunError
from pace_core.spec.data_report import DataReport
from tests.pace_core.data.writing import write_image


def survey(root: Path, phase: str = "final", **params) -> DataReport:
    return image_folder.SOURCE.survey(image_folder.Params(path=str(root), **params), phase=phase, num_classes=None)


def refusal(root: Path, phase: str = "final") -> str:
    with pytest.raises(RunError) as refused:
        survey(root, phase)
    assert refused.value.reason in ("data_missing", "data_corrupt")
    refused.value.message.encode()
    return refused.value.message


def passed(report: DataReport) -> dict[str, int]:
    return {one.why: one.count for one in report.passed_over}


def write(root: Path, **classes: int) -> Path:
    """Flat images; the class's name, `__` for a folder below."""
    for name, count in classes.items():
        for i in range(count):
            write_image(root / name.replace("__", "/") / f"{i}.png", i)
    return root


def per_class(report: DataReport) -> dict[str, int]:
    return {row.name: sum(row.images.values()) for row in report.per_class}


def test_what_systems_leave_in_folders_is_no_image_of_a_class(tmp_path: Path) -> None:
    write(tmp_path, disc=12, square=12)
    for place in (tmp_path, tmp_path / "disc", tmp_path / "disc" / "deeper"):
        for name in ("@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "__MACOSX", ".ipynb_checkpoints"):
            write_image(place / name / "0.jpg" / "SYNOPHOTO_THUMB_M.jpg", 1)
    write_image(tmp_path / "disc" / "._0.png", 1)
    report = survey(tmp_path)
    assert per_class(report) == {"disc": 12, "square": 12}
    assert passed(report) == {
        "hidden": 4,
        **{f"system folder {n}": 3 for n in ("@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "__MACOSX")},
    }
    assert {row.name: row.passed_over for row in report.per_class} == {"disc": 13, "square": 0}


def test_why_no_class_has_an_image_is_said_whatever_the_reason(tmp_path: Path) -> None:
    write_image(tmp_path / "disc" / ".0.png", 1)
    write_image(tmp_path / "disc" / "@eaDir" / "0.png", 1)
    (tmp_path / "square").mkdir()
    (tmp_path / "square" / "0.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "square" / "1.heif").touch()
    (tmp_path / "square" / "2").touch()
    said = refusal(tmp_path)
    for why, cure in {
        "1 hidden": "take the dot from the names of what is meant",
        "1 system folder @eaDir": "rename the folder if its images are yours",
        "1 link to nothing": "copy the files that the links name",
        "1 ending .heif": "save such images as PNG or JPEG",
        "1 no ending": "give image files an ending such as .png",
    }.items():
        assert why in said
        assert cure in said
    assert "without images" not in said.replace("class folders with images", "")


def test_every_format_that_pillow_decodes_is_read_and_other_endings_are_named(tmp_path: Path) -> None:
    write(tmp_path, disc=2, square=2)
    kinds = ["JPG", "jfif", "jp2", "avif", "tga", "pcx", "ico", "qoi", "dds", "sgi", "webp", "tif", "pbm", "im"]
    for kind in kinds:
        path = tmp_path / "disc" / f"a.{kind}"
        (Image.new("1", (9, 9)) if kind == "pbm" else Image.new("RGB", (16, 16))).save(path)
    for name in ("a.heic", "b.heic", "a.xml", "film.mpg", "grid.h5", "README"):
        (tmp_path / "disc" / name).write_bytes(b"something")
    report = survey(tmp_path)
    assert per_class(report)["disc"] == 2 + len(kinds)
    assert passed(report) == {
        "ending .heic": 2, "ending .xml": 1, "ending .mpg": 1, "ending .h5": 1, "no ending": 1
    }  # fmt: skip


def test_links_to_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    root = write(tmp_path / "root", disc=4, square=4)
    store = write(tmp_path / "store", disc=20, cross=3)
    (root / "disc" / "more").symlink_to(store / "disc")
    (root / "cross").symlink_to(store / "cross")
    (root / "disc" / "again").symlink_to(root / "disc" / "more")
    (root / "disc" / "up").symlink_to(root)
    (root / "disc" / "self").symlink_to(root / "disc" / "self")
    (root / "round").symlink_to(root)
    (root / "square" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    report = survey(root)
    assert per_class(report) == {"cross": 3, "disc": 24, "square": 4}
    assert passed(report) == {"link that leads back": 3, "link to nothing": 2}


def test_pipes_and_sockets_are_passed_over_and_never_opened(tmp_path: Path) -> None:
    write(tmp_path, disc=3, square=3)
    os.mkfifo(tmp_path / "disc" / "pipe.png")
    here = os.getcwd()
    os.chdir(tmp_path / "disc")  # the path of a socket has few letters
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket.png")
            report = survey(tmp_path)
    finally:
        os.chdir(here)
    assert per_class(report) == {"disc": 3, "square": 3}
    assert passed(report) == {"pipe, socket or device": 2}


def test_images_beside_the_class_folders_and_empty_classes_are_counted(tmp_path: Path) -> None:
    write(tmp_path, disc=3, square=3)
    write_image(tmp_path / "stray.png", 1)
    (tmp_path / "empty").mkdir()
    assert passed(survey(tmp_path)) == {"beside the class folders": 1, "class folder without images": 1}
    for split in ("train", "test"):
        write(tmp_path / "split" / split, disc=3, square=3)
    write(tmp_path / "split", unlabelled__some=5)
    assert passed(survey(tmp_path / "split")) == {"beside the split folders": 5}


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Train", "Val", "Test"), ("TRAINING", "Valid", "testing"), ("train", "dev", "TEST"),
        ("train_set", "Validation", "test-set"),
    ],
)  # fmt: skip
def test_split_folders_are_known_by_their_usual_names_in_any_case(
    tmp_path: Path, train: str, val: str, test: str
) -> None:
    for name, count in ((train, 5), (val, 2), (test, 3)):
        write(tmp_path / name, disc=count, square=count)
    assert survey(tmp_path, "search").images == {"train": 10, "val": 4}
    assert survey(tmp_path).images == {"train": 14, "test": 6}


def test_two_folders_that_may_be_the_same_split_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "Valid"):
        write(tmp_path / name, disc=2, square=2)
    assert "both Valid and val may be the val split; merge them or rename one" in refusal(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write(tmp_path, bus=3, car=3, train=3)
    assert per_class(survey(tmp_path)) == {"bus": 3, "car": 3, "train": 3}


def test_a_train_folder_with_folders_beside_others_is_a_class_or_a_split(tmp_path: Path) -> None:
    write(tmp_path, bus=3, car=3, train__steam=3, train__diesel=3)
    said = refusal(tmp_path)
    assert "train with folders in it beside bus, car; it is either a class or a split: rename it" in said


def test_a_test_folder_of_classes_beside_the_classes_is_no_class(tmp_path: Path) -> None:
    write(tmp_path, disc=3, square=3, test__disc=2, test__square=2)
    assert "test with folders in it, as a test split; move the class folders disc, square into" in refusal(tmp_path)


def test_class_folders_that_all_hold_the_same_folders_are_no_classes(tmp_path: Path) -> None:
    years = write(tmp_path / "years", **{f"{y}__{c}": 2 for y in ("y2019", "y2020") for c in ("rose", "daisy")})
    said = refusal(years)
    assert "y2019, y2020, and each of them holds the same folders daisy, rose and no images" in said
    inside = write(tmp_path / "inside", **{f"{c}__{s}": 2 for c in ("rose", "daisy") for s in ("train", "test")})
    assert "each of them holds the same folders test, train and no images" in refusal(inside)
    tiny = write(tmp_path / "tiny", n01__images=3, n02__images=3)
    assert per_class(survey(tiny)) == {"n01": 3, "n02": 3}


def test_a_folder_in_a_folder_is_pointed_at(tmp_path: Path) -> None:
    write(tmp_path / "wrapped" / "flowers", disc=3, square=3)
    assert refusal(tmp_path).endswith(f"did you mean {tmp_path / 'wrapped' / 'flowers'}?")
    write(tmp_path / "zip" / "data" / "train", disc=3, square=3)
    assert refusal(tmp_path / "zip").endswith(f"did you mean {tmp_path / 'zip' / 'data'}?")


def test_images_without_class_folders_are_counted_in_the_refusal(tmp_path: Path) -> None:
    write(tmp_path, loose=4)
    assert "0 class folders with images, and 4 images beside them" in refusal(tmp_path / "loose")
    write(tmp_path / "flat", train=4, test=4)
    assert "train holds 4 images but no class folders" in refusal(tmp_path / "flat")
    write(tmp_path / "only", test__disc=4, test__square=4)
    assert "test but no train folder; add one" in refusal(tmp_path / "only")


def test_an_unlabelled_test_folder_is_said_to_be_that(tmp_path: Path) -> None:
    write(tmp_path / "train", disc=4, square=4)
    write(tmp_path, test=6)
    assert survey(tmp_path, "search").images["train"] == 6
    said = refusal(tmp_path)
    assert "test holds 6 images but no class folders, so their classes are unknown" in said
    assert "run phase search and predict them" in said


def test_names_are_the_same_in_every_unicode_form(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    write(tmp_path / "train", **{composed: 4, "thé": 4})
    write(tmp_path / "test", **{decomposed: 2, "thé": 2})
    report = survey(tmp_path)
    assert [row.images for row in report.per_class] == [{"train": 4, "test": 2}] * 2
    write(tmp_path / "train", **{decomposed: 1})
    assert "café, differ in their Unicode form only; merge them" in unicodedata.normalize("NFC", refusal(tmp_path))


def test_file_names_need_not_be_utf_8_but_class_names_do(tmp_path: Path) -> None:
    write(tmp_path, disc=4, square=4)
    file = os.fsencode(tmp_path / "disc") + b"/Pl\xe4tze.png"
    os.rename(tmp_path / "disc" / "0.png", os.fsdecode(file))
    assert per_class(survey(tmp_path)) == {"disc": 4, "square": 4}
    image_folder.SOURCE.fingerprint(image_folder.Params(path=str(tmp_path)), phase="final")
    os.rename(tmp_path / "disc", os.fsdecode(os.fsencode(tmp_path) + b"/Pl\xe4tze"))
    assert r"the name of the class folder Pl\xe4tze is not UTF-8; rename it" in refusal(tmp_path)


def test_a_class_in_other_capitals_is_asked_about(tmp_path: Path) -> None:
    write(tmp_path / "train", disc=4, square=4)
    write(tmp_path / "test", Disc=2, square=2)
    assert "Disc is not a class in the training folder; did you mean disc" in refusal(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path) -> None:
    write(tmp_path, disc=4, square=4)
    (tmp_path / "disc").chmod(0)
    assert "disc cannot be listed (Permission denied); change its permissions" in refusal(tmp_path)
    (tmp_path / "disc").chmod(0o700)


def test_where_no_image_can_be_read_the_endings_are_named(tmp_path: Path) -> None:
    for name in ("disc", "square"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo.HEIC").touch()
    said = refusal(tmp_path)
    assert "0 class folders with images (passed over: 2 ending .heic; save such images as PNG or JPEG)" in said
