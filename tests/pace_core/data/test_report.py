"""The table of class and split that a run logs and its result keeps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pace_core.data import csv, image_folder, table, tell, warnings_of
from pace_core.run import run
from pace_core.spec import RunResult, RunSpec, merged, validate
from pace_core.spec.data_report import DataReport
from tests.pace_core.data.writing import Silent, squashed, write_image
from tests.pace_core.training.told import Told


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Two classes, with eight images to train on and four to test on each, all different."""
    for offset, (split, count) in enumerate((("train", 8), ("test", 4))):
        for label, name in enumerate(("disc", "square")):
            for i in range(count):
                write_image(tmp_path / split / name / f"{i}.png", 100 * label + 50 * offset + i)
    return tmp_path


def loaded(root: Path, **params) -> tuple[DataReport, str, list[str]]:
    """The report, the table in the log, and the warnings."""
    told = Silent()
    given = image_folder.Params(path=str(root), **params)
    splits = image_folder.SOURCE.load(given, phase="final", num_classes=None, preprocessing=squashed(8), reporter=told)
    tell(splits.report, told)
    logs = [data for kind, data in told.events if kind == "log"]
    return splits.report, logs[0]["message"], [log["message"] for log in logs if log["level"] == "warning"]


def twice(report: DataReport) -> tuple[int, int, int]:
    assert report.duplicates
    return report.duplicates.within_split, report.duplicates.two_labels, report.duplicates.in_training_too


def test_a_run_keeps_and_logs_what_it_used(shapes: Path, make_spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    (shapes / "train" / "disc" / "notes.txt").write_text("x")
    (shapes / "test" / "square" / "3.png").write_bytes(b"")
    told = Told()
    task = {"path": str(shapes), "phase": "final", "on_unreadable": "skip"}
    result = run(make_spec(task=task, training={"epochs": 0}), told, str(tmp_path / "out"))
    report = RunResult.model_validate_json(result.model_dump_json()).data
    assert report is not None
    assert report.images == {"train": 16, "test": 7}
    assert [(row.name, row.images, row.left_out) for row in report.per_class] == [
        ("disc", {"train": 8, "test": 4}, {"train": {"ending .txt": 1}}),
        ("square", {"train": 8, "test": 3}, {"test": {"unreadable": 1}}),
    ]
    assert {one.why: (one.count, one.examples) for one in report.passed_over} == {
        "ending .txt": (1, [str(shapes / "train" / "disc" / "notes.txt")]),
        "unreadable": (1, [str(shapes / "test" / "square" / "3.png")]),
    }
    table = next(data["message"] for data in told.of("log") if data["message"].startswith("data:"))
    assert table.splitlines() == [
        "data: 2 classes; images: 16 to train on, 7 to test on",
        "  disc    train      8  test      4  (passed over: 1 ending .txt in train)",
        "  square  train      8  test      3  (passed over: 1 unreadable in test)",
        f"passed over: 1 ending .txt, such as {shapes}/train/disc/notes.txt",
        f"passed over: 1 unreadable, such as {shapes}/test/square/3.png",
    ]


def test_the_same_bytes_twice_are_counted_and_warned_of_where_they_matter(shapes: Path) -> None:
    assert loaded(shapes)[2] == []
    write_image(shapes / "train" / "disc" / "copy.png", 0)
    report, table, warnings = loaded(shapes)
    assert report.duplicates
    assert (report.duplicates.within_split, report.duplicates.two_labels, report.duplicates.in_training_too) == (
        1,
        0,
        0,
    )
    assert "the same bytes as an earlier image of its split: 1 image" in table
    assert warnings == []

    write_image(shapes / "train" / "square" / "label.png", 1)
    write_image(shapes / "test" / "disc" / "leak.png", 2)
    report, _, warnings = loaded(shapes)
    assert report.duplicates
    assert (report.duplicates.within_split, report.duplicates.two_labels, report.duplicates.in_training_too) == (
        1,
        1,
        1,
    )
    assert len(warnings) == 1
    assert (
        "the same bytes twice: 1 of 9 test images also in training; 1 image under more than one label, such as "
        in warnings[0]
    )
    assert "disc/2.png and " in warnings[0]


def test_classes_too_small_to_test_are_named(shapes: Path) -> None:
    write_image(shapes / "train" / "rare" / "0.png", 200)
    report, _, warnings = loaded(shapes)
    assert report.rare_classes == 1
    assert warnings == ["1 class with fewer than two images, too few to train and to measure on: rare"]


def test_what_was_turned_and_laid_on_the_background_is_counted(shapes: Path) -> None:
    report, table, _ = loaded(shapes)
    assert (report.turned_upright, report.laid_on_background) == (0, 0)
    assert "EXIF" not in table


def test_validation_images_that_join_are_said_to(shapes: Path) -> None:
    for name in ("disc", "square"):
        write_image(shapes / "val" / name / "0.png", 220 if name == "disc" else 230)
    joined, table, _ = loaded(shapes)
    assert (joined.images["train"], joined.from_validation) == (18, 2)
    assert "18 to train on, 8 to test on (2 of them validation images)" in table
    apart, _, _ = loaded(shapes, final_trains_on_val=False)
    assert (apart.images["train"], apart.from_validation) == (16, 0)
    assert [(one.why, one.count) for one in apart.passed_over] == [("validation image, kept out of training", 2)]


def test_labels_that_differ_in_capitals_are_warned_of(tmp_path: Path) -> None:
    rows = []
    for i, label in enumerate(["disc", "DISC", "square", "cross"] * 3):
        write_image(tmp_path / f"{i}.png", i)
        rows.append(f"{i}.png,{label}")
    (tmp_path / "all.csv").write_text("\n".join(["path,label", *rows]))
    told = Silent()
    params = csv.Params(path=str(tmp_path / "all.csv"))
    report = csv.SOURCE.load(params, phase="search", num_classes=None, preprocessing=squashed(8), reporter=told).report
    assert warnings_of(report) == [
        "classes differ in capitals or blanks only: DISC and disc; if they are one class, give it one name"
    ]


def test_the_rows_that_a_search_may_not_open_are_counted(tmp_path: Path) -> None:
    rows = [f"{i}.png,{'ab'[i % 2]},{split}" for i, split in enumerate(["train"] * 8 + ["val"] * 4 + ["test"] * 6)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label,split", *rows]))
    params = csv.Params(path=str(tmp_path / "all.csv"), split_column="split")
    report = csv.SOURCE.survey(params, phase="search", num_classes=None)
    assert [row.left_out for row in report.per_class] == 2 * [{"test": {"test image, kept closed in a search": 3}}]
    final = csv.SOURCE.survey(params.model_copy(update={"final_trains_on_val": False}), phase="final", num_classes=None)
    assert [row.left_out for row in final.per_class] == 2 * [{"val": {"validation image, kept out of training": 2}}]
    assert "a  train      4  test      3  (passed over: 2 validation image, kept out of training)" in table(final)


def test_a_class_that_is_trained_and_never_measured_is_warned_of(shapes: Path) -> None:
    for i in range(8):
        write_image(shapes / "train" / "star" / f"{i}.png", 40 + i)
    report, _, warnings = loaded(shapes)
    assert (report.unmeasured_classes, report.unmeasured) == (1, ["star"])
    assert warnings == ["1 of 3 classes have no test images, so nothing measures them: star"]


def test_every_source_logs_what_it_used_once(make_spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    task = {"name": "vtab-mini/digits", "source": "vtab_mini", "train_images": 20, "phase": "search"}
    spec = validate(merged({"method": {"name": "linear"}, "training": {"epochs": 0}}, {"task": task}))
    told = Told()
    run(spec, told, str(tmp_path))
    said = [line["message"] for line in told.of("log") if line["message"].startswith("data:")]
    assert said == ["data: 10 classes; images: 20 to train on, 200 to choose settings by"]


def test_a_thousand_classes_make_no_long_result(tmp_path: Path) -> None:
    for label in range(1000):
        for i in range(2 + label % 3):
            (tmp_path / f"class {label}").mkdir(exist_ok=True)
            (tmp_path / f"class {label}" / f"{i}.png").touch()
            (tmp_path / f"class {label}" / f"{i}.x{label}").touch()
    report = image_folder.SOURCE.survey(image_folder.Params(path=str(tmp_path)), phase="final", num_classes=None)
    assert report.classes == 1000
    assert sum(report.images.values()) == 2999
    assert len(report.per_class) == 100
    assert {sum(row.images.values()) for row in report.per_class} == {2}
    assert len(report.passed_over) == 21
    assert sum(one.count for one in report.passed_over) == 2999
    assert len(report.model_dump_json()) < 30_000
