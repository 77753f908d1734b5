"""Data at URLs: copied once for each content, held to the operator's prefixes, and read as local."""

import csv
import io
import os
import zipfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest

from pace_core import data, remote
from pace_core.data import Phase
from pace_core.roots import allow, roots
from pace_core.spec import RunError
from tests.http_files import Served, http_files
from tests.pace_core.data.test_containers import png, samples, table, write_saved, write_tar
from tests.pace_core.data.writing import Silent, squashed, write_image

VALUES = [(10, 0), (20, 1), (30, 0), (40, 1), (50, 0), (60, 1)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    remote.release()
    allow(None)


@pytest.fixture
def served() -> Generator[Served]:
    with http_files() as found:
        yield found


@pytest.fixture
def store() -> Generator[Any]:
    found = fsspec.filesystem("memory")
    yield found
    found.rm("/", recursive=True)


def load(source: str, phase: Phase = "final", **params: Any) -> data.Splits:
    found = data.find(source)
    given = found.params.model_validate(params)
    return found.load(given, phase=phase, num_classes=None, preprocessing=squashed(4), reporter=Silent())


def values_of(splits: data.Splits) -> list[int]:
    """Grey values of all images, training and test together."""
    assert splits.test is not None
    return sorted([*splits.train.images[:, 0, 0, 0].tolist(), *splits.test.images[:, 0, 0, 0].tolist()])


def put_folder(store: Any, root: str, folder: Path) -> None:
    store.put(str(folder), root, recursive=True)


def image_folder(home: Path) -> Path:
    for number, (value, label) in enumerate(VALUES):
        write_image(home / f"class{label}" / f"{number}.png", value)
    return home


def zipped(folder: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, f"top/{file.relative_to(folder).as_posix()}")
    return out.getvalue()


def copies(tmp_path: Path) -> list[Path]:
    return [each for each in (tmp_path / "cache/pace/.remote").iterdir() if each.is_dir()]


def test_an_image_folder_in_a_bucket_is_copied_once(store: Any, tmp_path: Path) -> None:
    put_folder(store, "memory://bucket/photos", image_folder(tmp_path / "made"))
    assert values_of(load("image_folder", path="memory://bucket/photos")) == [10, 20, 30, 40, 50, 60]
    (copy,) = copies(tmp_path)
    made = copy.stat().st_ino
    remote.release()
    assert values_of(load("image_folder", path="memory://bucket/photos/")) == [10, 20, 30, 40, 50, 60]
    assert [each.stat().st_ino for each in copies(tmp_path)] == [made]


def test_odd_names_in_a_bucket_are_images_like_others(store: Any, tmp_path: Path) -> None:
    put_folder(store, "memory://bucket/photos", image_folder(tmp_path / "made"))
    put_folder(store, "memory://bucket/photos-of-others", image_folder(tmp_path / "made"))
    for number, name in enumerate(("a#1.png", "what?.png", "50%2f.png", "two\nlines.png", "été.png", "a\\b.png")):
        store.pipe(f"/bucket/photos/class0/{name}", png(100 + number))
    found = values_of(load("image_folder", path="memory://bucket/photos"))
    assert found == [10, 20, 30, 40, 50, 60, *range(100, 106)]
    store.pipe(f"/bucket/photos/class0/{'x' * 256}.png", png(9))
    with pytest.raises(RunError, match="has a name that no file of this machine can have; rename it"):
        load("image_folder", path="memory://bucket/photos")


def test_what_a_killed_process_left_does_not_fill_the_cache(store: Any, tmp_path: Path) -> None:
    put_folder(store, "memory://bucket/photos", image_folder(tmp_path / "made"))
    root = tmp_path / "cache/pace/.remote"
    for name in ("old", "new"):
        (root / f"{name}.part").mkdir(parents=True)
    os.utime(root / "old.part", (1, 1))
    load("image_folder", path="memory://bucket/photos")
    assert sorted(each.name for each in root.glob("*.part")) == ["new.part"]


def test_other_content_at_the_address_is_another_copy(store: Any, tmp_path: Path) -> None:
    put_folder(store, "memory://bucket/photos", image_folder(tmp_path / "made"))
    before = data.find("image_folder")
    first = values_of(load("image_folder", path="memory://bucket/photos"))
    store.pipe("memory://bucket/photos/class0/7.png", png(70))
    assert values_of(load("image_folder", path="memory://bucket/photos")) == [*first, 70]
    assert before.fingerprint(before.params.model_validate({"path": "memory://bucket/photos"}), phase="final")


def test_an_archive_over_http_is_an_image_folder(served: Served, tmp_path: Path) -> None:
    url = served.put("photos.zip", zipped(image_folder(tmp_path / "made")))
    assert values_of(load("image_folder", path=url)) == [10, 20, 30, 40, 50, 60]
    asked = len(served.asked)
    remote.release()
    load("image_folder", path=url)
    assert len(served.asked) == asked + 1  # whether it is still the same


def test_a_server_that_marks_no_content_is_asked_for_it_again(served: Served, tmp_path: Path) -> None:
    url = served.put("photos.zip", zipped(image_folder(tmp_path / "made")))
    served.tags["/photos.zip"] = ""
    load("image_folder", path=url)
    served.put("photos.zip", zipped(image_folder(tmp_path / "made")) + b"")
    write_image(tmp_path / "made/class0/7.png", 70)
    served.put("photos.zip", zipped(tmp_path / "made"))
    assert 70 in values_of(load("image_folder", path=url))


def test_a_csv_over_http_finds_its_images_beside_it(served: Served) -> None:
    lines = [("path", "label", "split")]
    for number, (value, label) in enumerate(VALUES):
        served.put(f"d/images/{number}.png", png(value))
        lines.append((f"images/{number}.png", f"c{label}", "test" if number > 3 else "train"))
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    url = served.put("d/table.csv", out.getvalue().encode())
    assert values_of(load("csv", path=url, split_column="split")) == [10, 20, 30, 40, 50, 60]
    apart = served.put("elsewhere/table.csv", out.getvalue().encode())
    assert values_of(load("csv", path=apart, split_column="split", root=f"{served.url}/d")) == [10, 20, 30, 40, 50, 60]
    served.asked.clear()
    load("csv", "search", path=url, split_column="split")
    assert not {"/d/images/4.png", "/d/images/5.png"} & {path for path, _ in served.asked}


def test_a_csv_cannot_lead_out_of_its_prefix(served: Served) -> None:
    served.put("secret.png", png(99))
    for name in ("../secret.png", "..%2fsecret.png", "//evil.org/x.png", "a?b=1", "http://evil.org/x.png"):
        url = served.put("d/table.csv", f"path,label,split\n{name},a,train\n{name},b,train\n{name},a,test\n".encode())
        allow(roots([f"{served.url}/d"], []))
        with pytest.raises(RunError, match=r"has an empty segment|has a query|is no plain URL"):
            load("csv", path=url, split_column="split")
    assert not any(path == "/secret.png" for path, _ in served.asked)


def test_shards_and_parquet_come_by_pattern_file_and_folder(served: Served, store: Any, tmp_path: Path) -> None:
    for number, half in enumerate((VALUES[:4], VALUES[4:])):
        write_tar(tmp_path / f"train-{number}.tar", samples(half))
        served.put(f"w/train-{number}.tar", (tmp_path / f"train-{number}.tar").read_bytes())
        store.pipe(f"memory://b/w/train-{number}.tar", (tmp_path / f"train-{number}.tar").read_bytes())
    for path in (f"{served.url}/w/train-{{0..1}}.tar", "memory://b/w/train-{0..1}.tar", "memory://b/w"):
        assert values_of(load("webdataset", path=path)) == [10, 20, 30, 40, 50, 60]
    pq.write_table(table(VALUES), tmp_path / "train.parquet")
    url = served.put("p/train.parquet", (tmp_path / "train.parquet").read_bytes())
    store.pipe("memory://b/p/train.parquet", (tmp_path / "train.parquet").read_bytes())
    for path in (url, "memory://b/p", "memory://b/p/train.parquet"):
        assert values_of(load("parquet", path=path)) == [10, 20, 30, 40, 50, 60]
    with pytest.raises(RunError, match="the server answers 404"):
        load("webdataset", path=f"{served.url}/w/train-{{0..2}}.tar")


def test_an_hf_data_set_in_a_bucket_or_an_archive(served: Served, store: Any, tmp_path: Path) -> None:
    write_saved(tmp_path / "made", {"train": VALUES[:4], "test": VALUES[4:]})
    put_folder(store, "memory://b/hf", tmp_path / "made")
    url = served.put("hf.zip", zipped(tmp_path / "made"))
    for path in ("memory://b/hf", url, f"file://{tmp_path}/made"):
        assert values_of(load("hf_dataset", path=path)) == [10, 20, 30, 40, 50, 60]


def test_only_what_the_operator_names_is_asked_for(served: Served, store: Any, tmp_path: Path) -> None:
    archive = zipped(image_folder(tmp_path / "made"))
    inside, outside = served.put("data/x.zip", archive), served.put("database/x.zip", archive)
    served.redirects["/data/moved.zip"] = "/database/x.zip"
    put_folder(store, "memory://bucket/pace", tmp_path / "made")
    put_folder(store, "memory://bucket/photos", tmp_path / "made")
    store.pipe("memory://bucket/photos/.secret/x.png", png(99))
    allow(roots([str(tmp_path), f"{served.url}/data", "memory://bucket"], [], ["memory://bucket/pace"]))
    assert values_of(load("image_folder", path=inside)) == [10, 20, 30, 40, 50, 60]
    assert values_of(load("image_folder", path="memory://bucket/photos")) == [10, 20, 30, 40, 50, 60]
    served.asked.clear()
    for path in (
        outside,
        "memory://bucket/pace",
        "memory://bucket/photos/.secret",
        "memory://other/photos",
        f"{served.url.replace('127.0.0.1', 'localhost')}/data/x.zip",
        inside.replace("http", "https"),
    ):
        with pytest.raises(RunError, match="lies below no address that this worker reads for others") as refused:
            load("image_folder", path=path)
        assert refused.value.reason == "data_missing"
    assert served.asked == []
    with pytest.raises(RunError, match="lies below no address"):
        load("image_folder", path=f"{served.url}/data/moved.zip")
    assert [path for path, _ in served.asked] == ["/data/moved.zip"]
    with pytest.raises(RunError, match="lies outside the folders"):
        load("image_folder", path="file:///etc")
    with pytest.raises(RunError, match=r"memory://bucket holds 1 class folders with images; did you mean .*photos"):
        load("image_folder", path="memory://bucket")  # the closed folder is not among them


def test_where_no_address_is_allowed_all_are_refused(served: Served, tmp_path: Path) -> None:
    url = served.put("x.zip", zipped(image_folder(tmp_path / "made")))
    allow(roots([str(tmp_path)], []))
    with pytest.raises(RunError, match=r"\(none are named\); have the operator add it to PACE_DATA_ROOTS"):
        load("image_folder", path=url)
    assert served.asked == []


def test_a_copy_is_closed_to_the_runs_that_come_after(store: Any, tmp_path: Path) -> None:
    put_folder(store, "memory://bucket/photos", image_folder(tmp_path / "made"))
    allow(roots(["memory://bucket"], []))
    load("image_folder", path="memory://bucket/photos")
    (copy,) = copies(tmp_path)
    load("image_folder", path=str(copy))
    remote.release()
    with pytest.raises(RunError, match="lies outside the folders"):
        load("image_folder", path=str(copy))


def test_the_cache_keeps_within_its_bounds(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        put_folder(store, f"memory://bucket/{name}", image_folder(tmp_path / name))
    size = sum(file.stat().st_size for file in (tmp_path / "a").rglob("*.png"))
    monkeypatch.setenv("PACE_CACHE_BYTES", str(2 * size))
    load("image_folder", path="memory://bucket/a")
    load("image_folder", path="memory://bucket/b")
    with pytest.raises(RunError, match="those that runs read now leave too little") as full:
        load("image_folder", path="memory://bucket/c")
    assert full.value.reason == "disk_full"
    remote.release()
    load("image_folder", path="memory://bucket/c")
    assert len(copies(tmp_path)) == 2
    monkeypatch.setenv("PACE_CACHE_BYTES", str(size - 1))
    remote.release()
    with pytest.raises(RunError, match="copies may take"):
        load("image_folder", path="memory://bucket/a")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("simplecache::s3://bucket/x", "chained ones are not read"),
        ("zip://a::http://host/x.zip", "chained ones are not read"),
        ("ftp://host/x", "begins with a protocol that is not read"),
        ("http://user:pw@host/x.zip", "credentials belong into the environment"),
        ("http://127.0.0.1:1/folder/", "a folder cannot be listed over HTTP; name a zip or tar file"),
        ("http://127.0.0.1:1/x.zip", "cannot be fetched"),
        ("memory://bucket/nothing", "there is nothing at"),
        ("s3://bucket/x", r"pace-finetune\[s3\]|cannot be read"),
        ("memory://bucket\n/x", "characters that no URL has"),
    ],
)
def test_what_cannot_be_read_says_why(path: str, why: str) -> None:
    with pytest.raises(RunError, match=why) as refused:
        load("image_folder", path=path)
    assert refused.value.message.startswith("task.path: ")


def test_an_archive_that_leads_out_and_a_bomb_are_refused(served: Served, tmp_path: Path) -> None:
    evil = io.BytesIO()
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("../../../escaped.png", png(1))
    with pytest.raises(RunError, match="leads out of the folder"):
        load("image_folder", path=served.put("evil.zip", evil.getvalue()))
    assert not list(tmp_path.rglob("escaped.png"))
    assert copies(tmp_path) == []
