"""Uploaded data sets: their layout is recognised, and what is no layout is refused with the cure."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pace_core import data, uploads
from pace_core.data import Phase
from pace_core.roots import allow, roots
from pace_core.spec import RunError
from pace_core.unpacking import top
from tests.pace_core.data.test_containers import write_parquet, write_saved, write_tar, write_webdataset
from tests.pace_core.data.writing import Silent, squashed, write_image

WHOLE = {"train": [(10 * number, number % 2) for number in range(1, 11)]}
SPLIT = {"train": WHOLE["train"][:6], "validation": WHOLE["train"][6:8], "test": WHOLE["train"][8:]}


@pytest.fixture(autouse=True)
def upload(tmp_path: Path) -> Generator[Path]:
    """The unpacked upload, which alone is open, as on a worker."""
    folder = tmp_path / "upload"
    folder.mkdir()
    allow(roots([str(folder)], []))
    yield folder
    allow(None)
    uploads.place({})


def load(folder: Path, phase: Phase = "final", **more: Any) -> data.Splits:
    uploads.place({"mine": top(folder)})
    source = data.find("uploaded")
    params = source.params.model_validate({"dataset": "mine", **more})
    return source.load(params, phase=phase, num_classes=None, preprocessing=squashed(4), reporter=Silent())


def values(images: Any) -> list[int]:
    return sorted(images.images[:, 0, 0, 0].tolist())


def write_csv(root: Path, splits: dict[str, list[tuple[int, int]]]) -> None:
    lines = ["path,label,split"]
    for split, said in splits.items():
        for number, (value, label) in enumerate(said):
            write_image(root / "images" / split / f"{number}.png", value)
            lines.append(f"images/{split}/{number}.png,class{label},{split}")
    (root / "labels.csv").write_text("\n".join(lines))


def write_csv_files(root: Path, splits: dict[str, list[tuple[int, int]]]) -> None:
    for split, said in splits.items():
        lines = ["file_name,label"]
        for number, (value, label) in enumerate(said):
            write_image(root / f"{split}-{number}.png", value)
            lines.append(f"{split}-{number}.png,class{label}")
        (root / f"{split}.csv").write_text("\n".join(lines))


def write_folders(root: Path, splits: dict[str, list[tuple[int, int]]]) -> None:
    for split, said in splits.items():
        for number, (value, label) in enumerate(said):
            home = root if len(splits) == 1 else root / split
            write_image(home / f"class{label}" / f"{split}{number}.png", value)


WRITE: dict[str, Callable[[Path, dict[str, list[tuple[int, int]]]], None]] = {
    "class folders": write_folders,
    "a table": write_csv,
    "tables": write_csv_files,
    "parquet": write_parquet,
    "save_to_disk": write_saved,
    "shards": write_webdataset,
}
every = pytest.mark.parametrize("layout", WRITE)


@every
def test_each_layout_is_read_as_it_is_split(layout: str, upload: Path) -> None:
    WRITE[layout](upload, SPLIT)
    final = load(upload)
    assert final.test is not None
    assert (values(final.train), values(final.test)) == ([10, 20, 30, 40, 50, 60, 70, 80], [90, 100])
    search = load(upload, "search")
    assert search.val is not None
    assert (values(search.train), values(search.val)) == ([10, 20, 30, 40, 50, 60], [70, 80])


@every
def test_a_test_split_is_cut_where_there_is_none(layout: str, upload: Path) -> None:
    WRITE[layout](upload, WHOLE)
    final = load(upload, test_fraction=0.4)
    assert final.test is not None
    assert (len(final.train), len(final.test)) == (6, 4)
    assert not set(values(final.train)) & set(values(final.test))
    search = load(upload, "search", test_fraction=0.4)
    assert search.val is not None
    assert not set(values(search.val)) & set(values(final.test))


@every
def test_an_archive_with_one_folder_at_its_top_is_the_same(layout: str, upload: Path) -> None:
    WRITE[layout](upload / "my data" / "v1", SPLIT)
    assert len(load(upload).train) == 8


def test_class_folders_with_a_table_of_something_else_are_class_folders(upload: Path) -> None:
    write_folders(upload, WHOLE)
    (upload / "notes.csv").write_text("author,date\nada,1843\n")
    assert len(load(upload).train) == 8


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda root: (root / "model.bin").write_bytes(b"x"), "1 files, such as model.bin, which is no layout"),
        (lambda root: None, "it holds no files, which is no layout that is read; upload class folders, a CSV"),
        (lambda root: write_image(root / "flat.png", 3), "such as flat.png, which is no layout that is read"),
        (
            lambda root: (write_parquet(root, WHOLE), write_webdataset(root, WHOLE)),
            "train-00000-of-00001.parquet and train-000000.tar; upload one kind",
        ),
        (
            lambda root: (write_csv(root, SPLIT), (root / "more.csv").write_text("path,label\n")),
            "it is not clear which of labels.csv, more.csv is the table",
        ),
        (lambda root: (root / "a.csv").write_text("image,colour\n1.png,red\n"), "which is no layout that is read"),
        (lambda root: (root / "a.csv").write_bytes(b"\xff\xfe\x00path,label"), "not UTF-8"),
        (lambda root: (root / "labels.csv").write_text("path,label\n../../etc/passwd,a\n"), "label"),
        (lambda root: (root / "state.json").write_text("[]"), "there is no file .*dataset_info.json"),
        (lambda root: write_tar(root / "a.tar", {"1.txt": b"x"}), "hold no image with a label"),
    ],
)
def test_what_is_no_layout_is_refused_with_the_cure(write: Callable[[Path], Any], why: str, upload: Path) -> None:
    write(upload)
    with pytest.raises(RunError, match=why) as refused:
        load(upload)
    assert refused.value.reason in ("data_corrupt", "data_missing")


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/passwd", "link.png"])
def test_a_table_cannot_name_files_outside(name: str, upload: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "secret.png", 99)
    write_csv_files(upload, SPLIT)
    (upload / "link.png").symlink_to(tmp_path / "secret.png")
    (upload / "train.csv").write_text(f"file_name,label\n{name},class0\n{name},class1\n")
    with pytest.raises(RunError, match="lies outside the folders"):
        load(upload)


def test_an_arrow_file_whose_offsets_lead_out_of_it_is_refused(upload: Path) -> None:
    write_saved(upload, WHOLE)
    images = pa.array([f"{number:07d}".encode() for number in range(10)])
    made = pa.table({"image": images, "label": [number % 2 for number in range(10)]})
    file = upload / "data-00000-of-00001.arrow"
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_stream(out, made.schema) as to:
        to.write_table(made)
    honest = np.arange(0, 77, 7, dtype=np.int32)
    assert file.read_bytes().count(honest.tobytes()) == 1
    file.write_bytes(file.read_bytes().replace(honest.tobytes(), (honest * 10_000_000).tobytes()))
    with pytest.raises(RunError, match="cannot be read as an arrow file"):
        load(upload)
