"""Data sets whose images lie in larger files: WebDataset shards, parquet, and HF data sets saved on disk."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pace_core import data
from pace_core.data import Phase, Splits, _files
from pace_core.roots import allow, roots
from pace_core.run import run
from pace_core.spec import RunError, RunSpec
from tests.pace_core.data.writing import Silent, squashed

Sample = tuple[int, Any]
"""Grey value and label."""
NAMES = ["cat", "dog"]


def png(value: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((5, 4, 3), value, dtype=np.uint8)).save(out, format="PNG")
    return out.getvalue()


def write_tar(file: Path, members: dict[str, bytes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as shard:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, io.BytesIO(content))


def samples(values: list[Sample]) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for number, (value, label) in enumerate(values):
        members |= {f"{number:03d}.png": png(value), f"{number:03d}.cls": str(label).encode()}
    return members


def table(values: list[Sample], named: bool = False) -> pa.Table:
    images = [{"bytes": png(value), "path": None} for value, _ in values]
    made = pa.table({"image": images, "label": [label for _, label in values]})
    if named:
        features = {"label": {"names": NAMES, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    return made


def write_webdataset(root: Path, splits: dict[str, list[Sample]]) -> None:
    for split, values in splits.items():
        half = (len(values) + 1) // 2
        write_tar(root / f"{split}-000000.tar", samples(values[:half]))
        write_tar(root / f"{split}-000001.tar", samples(values[half:]))


def write_parquet(root: Path, splits: dict[str, list[Sample]]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for split, values in splits.items():
        pq.write_table(table(values), root / f"{split}-00000-of-00001.parquet", row_group_size=2)


def write_saved(root: Path, splits: dict[str, list[Sample]], named: bool = False) -> None:
    homes = {split: root / split for split in splits} if len(splits) > 1 else {next(iter(splits)): root}
    for split, values in splits.items():
        home = homes[split]
        home.mkdir(parents=True, exist_ok=True)
        made = table(values)
        with pa.OSFile(str(home / "data-00000-of-00001.arrow"), "wb") as out, pa.ipc.new_stream(out, made.schema) as to:
            to.write_table(made, max_chunksize=2)
        label = {"names": NAMES, "_type": "ClassLabel"} if named else {"dtype": "int64", "_type": "Value"}
        (home / "dataset_info.json").write_text(json.dumps({"features": {"label": label}}))
        (home / "state.json").write_text(
            json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": split})
        )
    if len(splits) > 1:
        (root / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))


WRITE: dict[str, Callable[[Path, dict[str, list[Sample]]], None]] = {
    "webdataset": write_webdataset,
    "parquet": write_parquet,
    "hf_dataset": write_saved,
}
every = pytest.mark.parametrize("kind", WRITE)
SPLITS: dict[str, list[Sample]] = {
    "train": [(10, 0), (20, 1), (30, 0), (40, 1), (50, 1)],
    "validation": [(60, 1), (70, 0)],
    "test": [(80, 0), (90, 1), (100, 0)],
}


def load(kind: str, path: Path, phase: Phase = "search", num_classes: int | None = None, **more: Any) -> Splits:
    source = data.find(kind)
    params = source.params.model_validate({"path": str(path), **more})
    how = squashed(4)
    return source.load(params, phase=phase, num_classes=num_classes, preprocessing=how, reporter=Silent())


def pairs(images: Any) -> list[Sample]:
    found = next(images.chunks(squashed(4), 100))
    return [(int(image[0, 0, 0]), int(label)) for image, label in zip(found, images.labels, strict=True)]


@every
def test_splits_are_taken_as_they_are_named(kind: str, tmp_path: Path) -> None:
    WRITE[kind](tmp_path, SPLITS)
    search, final = load(kind, tmp_path), load(kind, tmp_path, "final")
    assert (pairs(search.train), pairs(search.val)) == (SPLITS["train"], SPLITS["validation"])
    assert (pairs(final.train), pairs(final.test)) == (SPLITS["train"] + SPLITS["validation"], SPLITS["test"])
    assert search.class_names == ("0", "1")


@every
def test_a_search_works_with_the_test_split_unreadable_and_a_final_run_says_so(kind: str, tmp_path: Path) -> None:
    WRITE[kind](tmp_path, SPLITS)
    for file in tmp_path.rglob("*"):
        if "test" in str(file.relative_to(tmp_path)) and file.is_file() and file.suffix != ".json":
            file.write_bytes(b"broken")
    assert len(load(kind, tmp_path).train) == 5
    with pytest.raises(RunError, match=r"task\.path: .*test.* cannot be read as") as refused:
        load(kind, tmp_path, "final")
    assert refused.value.reason == "data_corrupt"


@every
def test_of_one_split_others_are_cut_by_class_and_seed_and_told(kind: str, tmp_path: Path) -> None:
    whole: list[Sample] = [(value, value % 2) for value in range(100, 120)]
    WRITE[kind](tmp_path, {"train": whole})
    search, final = load(kind, tmp_path), load(kind, tmp_path, "final")
    assert (len(final.train), len(final.test)) == (16, 4)
    assert sorted(label for _, label in pairs(final.test)) == [0, 0, 1, 1]
    assert sorted(pairs(search.train) + pairs(search.val) + pairs(final.test)) == whole
    assert pairs(load(kind, tmp_path, "final").test) == pairs(final.test)
    assert pairs(load(kind, tmp_path, "final", split_seed=1).test) != pairs(final.test)
    assert final.report.images == {"train": 16, "test": 4}


@every
def test_every_image_that_cannot_be_read_is_named_before_training(kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(f"{__name__}.png", lambda value: b"no image" if value in (20, 90) else _png(value))
    WRITE[kind](tmp_path, SPLITS)
    with pytest.raises(RunError, match="Pillow cannot read it") as refused:
        load(kind, tmp_path, "final")
    assert refused.value.message.count("\n") == 1
    assert "train" in refused.value.message.splitlines()[0] or kind == "hf_dataset"
    skipped = load(kind, tmp_path, "final", on_unreadable="skip")
    assert (len(skipped.train), len(skipped.test)) == (6, 2)
    assert [(each.why, each.count) for each in skipped.report.passed_over] == [("unreadable", 2)]


_png = png


@every
def test_the_fingerprint_follows_the_contents_not_the_place(kind: str, tmp_path: Path) -> None:
    def fingerprint(folder: str, splits: dict[str, list[Sample]]) -> str:
        WRITE[kind](tmp_path / folder, splits)
        source = data.find(kind)
        return source.fingerprint(source.params(path=str(tmp_path / folder)), phase="final")

    first = fingerprint("a", SPLITS)
    assert fingerprint("b", SPLITS) == first
    assert fingerprint("c", {**SPLITS, "test": [(81, 0), *SPLITS["test"][1:]]}) != first


@every
def test_many_test_images_are_read_again_where_they_lie(kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(_files, "HELD_BYTES", 0)
    WRITE[kind](tmp_path, SPLITS)
    images = load(kind, tmp_path, "final").test
    assert isinstance(images, data.StreamedImages)
    assert pairs(images) == SPLITS["test"] == pairs(images)


@every
def test_labels_out_of_range_are_all_named(kind: str, tmp_path: Path) -> None:
    WRITE[kind](tmp_path, {**SPLITS, "validation": [(60, 2), (70, 3)]})
    with pytest.raises(RunError, match=r"label '2' is out of range 0\.\.1\n.*label '3'"):
        load(kind, tmp_path)
    assert load(kind, tmp_path, num_classes=4).num_classes == 4


@every
def test_nothing_outside_of_the_roots_is_opened(kind: str, tmp_path: Path) -> None:
    WRITE[kind](tmp_path / "outside", SPLITS)
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    allow(roots([str(tmp_path / "inside")], []))
    try:
        for path in (tmp_path / "outside", tmp_path / "inside" / "link"):
            with pytest.raises(RunError, match="lies outside the folders"):
                load(kind, path)
    finally:
        allow(None)


@every
def test_what_is_not_there_is_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"task\.path: there is no .*gone") as refused:
        load(kind, tmp_path / "gone")
    assert refused.value.reason == "data_missing"
    with pytest.raises(RunError, match=r"task\.path: "):
        load(kind, tmp_path)


def test_class_names_come_from_what_hf_wrote(tmp_path: Path) -> None:
    write_saved(tmp_path / "saved", SPLITS, named=True)
    (tmp_path / "hub").mkdir()
    for split, values in SPLITS.items():
        pq.write_table(table([*values, (5, -1)], named=True), tmp_path / "hub" / f"{split}-0.parquet")
    assert load("hf_dataset", tmp_path / "saved").class_names == ("cat", "dog")
    hub = load("parquet", tmp_path / "hub")
    assert hub.class_names == ("cat", "dog")
    assert [(each.why, each.count) for each in hub.report.passed_over] == [("hidden label (-1)", 2)], "train and val"
    pq.write_table(table([(1, 2)], named=True), tmp_path / "hub" / "train-1.parquet")
    with pytest.raises(RunError, match=r"train-1\.parquet row 0: label '2' is out of range 0\.\.1"):
        load("parquet", tmp_path / "hub")
    with pytest.raises(RunError, match=r"task\.num_classes: is 3, but .* has 2 classes"):
        load("parquet", tmp_path / "hub", num_classes=3)


def test_columns_are_found_by_their_usual_names_or_named(tmp_path: Path) -> None:
    write_parquet(tmp_path, SPLITS)
    for file in tmp_path.iterdir():
        pq.write_table(pq.read_table(file).rename_columns(["picture", "kind"]), file)
    with pytest.raises(RunError, match=r"task\.image_column: .* it has picture, kind: name one of those"):
        load("parquet", tmp_path)
    assert len(load("parquet", tmp_path, image_column="picture", label_column="kind").train) == 5
    with pytest.raises(RunError, match="labels are whole numbers or names"):
        load("parquet", tmp_path, image_column="picture", label_column="picture")


def test_paths_in_a_table_count_from_its_folder_and_lead_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(png(7))
    for value, _ in SPLITS["train"]:
        (tmp_path / "set" / "images" / f"{value}.png").write_bytes(png(value))
    labels = [f"class {label}" for _, label in SPLITS["train"]]
    paths = [f"images/{value}.png" for value, _ in SPLITS["train"]]
    pq.write_table(pa.table({"image": paths, "label": labels}), tmp_path / "set" / "all.parquet")
    found = load("parquet", tmp_path / "set", "final")
    assert found.class_names == ("class 0", "class 1")
    pq.write_table(
        pa.table({"image": ["../secret.png", *paths[1:]], "label": labels}), tmp_path / "set" / "all.parquet"
    )
    allow(roots([str(tmp_path / "set")], []))
    try:
        with pytest.raises(RunError, match="lies outside the folders"):
            load("parquet", tmp_path / "set", "final")
    finally:
        allow(None)


def test_a_selection_of_rows_and_files_elsewhere_are_refused(tmp_path: Path) -> None:
    write_saved(tmp_path, {"train": SPLITS["train"]})
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**state, "_indices_files": [{"filename": "indices.arrow"}]}))
    with pytest.raises(RunError, match="flatten_indices"):
        load("hf_dataset", tmp_path)
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../../etc/passwd"}]}))
    with pytest.raises(RunError, match="names no files of the data set"):
        load("hf_dataset", tmp_path)


def test_labels_may_stand_in_json_and_links_in_shards_lead_nowhere(tmp_path: Path) -> None:
    members = {f"a/{n}.png": png(n) for n in range(8)}
    members |= {f"a/{n}.json": json.dumps({"kind": NAMES[n % 2]}).encode() for n in range(8)}
    write_tar(tmp_path / "x.tar", {**members, "a/9.cls": b"cat", "a/read.me": b"?"})
    with tarfile.open(tmp_path / "x.tar", "a") as shard:
        link = tarfile.TarInfo("a/passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        shard.addfile(link)
    found = load("webdataset", tmp_path / "x.tar", "final", label_field="kind")
    assert found.class_names == ("cat", "dog")
    assert {each.why for each in found.report.passed_over} == {
        "label without an image", "ending .me", "link or device in a shard"
    }  # fmt: skip
    with pytest.raises(RunError, match=r"x\.tar/a/0\.png: has no \.cls and no field 'label' in a \.json\n"):
        load("webdataset", tmp_path / "x.tar")


def test_shards_are_named_by_a_pattern(tmp_path: Path) -> None:
    write_webdataset(tmp_path, {"train": SPLITS["train"], "test": SPLITS["test"]})
    pattern = tmp_path / "train-{000000..000001}.tar"
    found = load("webdataset", pattern, "final", test_path=str(tmp_path / "test-{000000..000001}.tar"))
    assert (pairs(found.train), pairs(found.test)) == (SPLITS["train"], SPLITS["test"])
    with pytest.raises(RunError, match=r"there is no file .*train-000002\.tar"):
        load("webdataset", tmp_path / "train-{000000..000002}.tar")
    with pytest.raises(RunError, match="is no range of at most"):
        load("webdataset", tmp_path / "train-{0..999999999}.tar")


def test_shards_of_which_some_name_no_split_are_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "train.tar", samples(SPLITS["train"]))
    write_tar(tmp_path / "more.tar", samples(SPLITS["train"]))
    with pytest.raises(RunError, match=r"more\.tar names no split"):
        load("webdataset", tmp_path)


@every
def test_a_run_trains_on_it(kind: str, tmp_path: Path, make_spec: Callable[..., RunSpec]) -> None:
    WRITE[kind](tmp_path / "set", {"train": [(value, value % 2) for value in range(100, 120)]})
    spec = make_spec(task={"name": "mine", "source": kind, "path": str(tmp_path / "set"), "phase": "final"})
    result = run(spec, Silent(), str(tmp_path / "run"))
    assert (result.metrics[0].split, result.metrics[0].samples) == ("test", 4)
