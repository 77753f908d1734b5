"""`python -m pace_core data fetch`: what is open comes into the layout that `data check` reads, the rest is told."""

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Generator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pace_core import commands
from pace_core.data import few_shot, fgvc, imagenet_shots
from pace_core.spec import Benchmark, DataPart, load_benchmarks
from tests.http_files import Served, http_files
from tests.pace_core.data.benchmarks_on_disk import write_few_shot
from tests.pace_core.data.writing import write_image, write_vtab_task
from tests.small_disk import fill, small_disk


@pytest.fixture
def served() -> Generator[Served]:
    with http_files() as found:
        yield found


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "500")


def tar_of(folder: Path, name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.add(folder, name)
    return out.getvalue()


def zip_of(folder: Path, name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{name}/{file.relative_to(folder).as_posix()}")
    return out.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def from_(monkeypatch: pytest.MonkeyPatch, name: str, parts: list[DataPart]) -> Benchmark:
    """The benchmark as it is, but fetched from these places."""
    benchmark = load_benchmarks()[name].model_copy(update={"parts": parts})
    monkeypatch.setattr(commands, "load_benchmarks", lambda: {**load_benchmarks(), name: benchmark})
    return benchmark


def said(*arguments: str) -> Result:
    return CliRunner().invoke(commands.app, ["data", *arguments])


def pets(served: Served, made: Path) -> list[DataPart]:
    """Oxford Pets on the server: its lists one by one, its images in an archive."""
    home = write_few_shot(made / "pets", 37)
    lists = {each.name: each.read_bytes() for each in sorted((home / "annotations").iterdir())}
    for name, content in lists.items():
        served.put(f"lists/{name}", content)
    archive = tar_of(home / "images", "images")
    homes = ["oxford-pets", "oxford_pets", "pets"]
    return [
        DataPart(
            name="lists", of=["pets"], homes=homes, to="annotations", base=f"{served.url}/lists",
            files={name: sha256(content) for name, content in lists.items()}, checksum="them",
        ),
        DataPart(
            name="images", of=["pets"], homes=homes, to="images", folder="images", sha256=sha256(archive),
            archive=served.put("images.tar.gz", archive), bytes=len(archive), terms="CC BY-SA 4.0", checksum="them",
        ),
        DataPart(name="images of cars", of=["cars"], homes=["stanford-cars"], to="images", by_hand="ask Kaggle"),
    ]  # fmt: skip


def test_what_is_fetched_is_what_a_check_accepts(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_(monkeypatch, "few-shot", pets(served, tmp_path / "made"))
    served.cuts["/images.tar.gz"] = [500]
    answer = said("fetch", "few-shot", "--root", str(tmp_path / "data"))
    assert answer.exit_code == 0, answer.output
    assert "✓ images [CC BY-SA 4.0]" in answer.output
    assert "SHA256 as expected (them)" in answer.output
    assert "→ images of cars" in answer.output
    assert "ask Kaggle" in answer.output
    assert f"see what there is of it: pace data check few-shot --root {tmp_path / 'data'}" in answer.output
    assert (
        "✓ pets/1-shot  train 37, val 37, test 37" in said("check", "few-shot", "--root", str(tmp_path / "data")).output
    )
    assert sorted(each.name for each in (tmp_path / "data").iterdir()) == ["oxford-pets", "pace-data.lock.json"]


def test_what_is_there_is_neither_fetched_nor_touched(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_(monkeypatch, "few-shot", pets(served, tmp_path / "made"))
    own = write_image(tmp_path / "data/oxford_pets/images/mine.jpg", 3)
    first = said("fetch", "few-shot", "--root", str(tmp_path / "data"), "--task", "pets/4-shot")
    assert first.exit_code == 0
    assert f"{own.parent} is there already, and was left as it is" in first.output
    assert (tmp_path / "data/oxford_pets/annotations/val_meta.list").is_file()
    assert [path for path, _ in served.asked if not path.startswith("/lists/")] == []
    assert "cars" not in first.output
    served.asked.clear()
    assert said("fetch", "few-shot", "--root", str(tmp_path / "data")).exit_code == 0
    assert served.asked == []


def test_a_benchmark_in_one_archive_goes_beside_what_is_there(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"train800": [0, 1, 2, 3], "val200": [0], "train800val200": [0, 1, 2, 3, 0], "test": [0, 1]}
    for name in ("kitti", "cifar"):
        write_vtab_task(tmp_path / "made" / name, labels)
    url = served.put("vtab-1k.zip", zip_of(tmp_path / "made", "vtab-1k"))
    from_(monkeypatch, "vtab-1k", [DataPart(name="all of it", archive=url, folder="vtab-1k")])
    mine = write_vtab_task(tmp_path / "data/cifar", labels) / "test.txt"
    mine.write_text(mine.read_text() + "\n")
    answer = said("fetch", "vtab-1k", "--root", str(tmp_path / "data"))
    assert answer.exit_code == 0, answer.output
    assert "nobody publishes a checksum; its SHA-256 is kept in pace-data.lock.json" in answer.output
    assert "✓ kitti" in said("check", "vtab-1k", "--root", str(tmp_path / "data")).output
    assert mine.read_text().endswith("\n\n")


def test_an_address_without_a_checksum_is_held_to_what_came_first(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "made/n01/1.jpg", 3)
    first = zip_of(tmp_path / "made", "sketch")
    url = served.put("sketch.zip", first)
    part = DataPart(name="sketches", homes=["imagenet-sketch"], to="images", archive=url, folder="sketch")
    from_(monkeypatch, "domain-adaptation", [part])
    data, again = tmp_path / "data", tmp_path / "again"
    assert said("fetch", "domain-adaptation", "--root", str(data)).exit_code == 0
    assert json.loads((data / "pace-data.lock.json").read_text())[url]["sha256"] == sha256(first)
    again.mkdir()
    (again / "pace-data.lock.json").write_bytes((data / "pace-data.lock.json").read_bytes())
    write_image(tmp_path / "made/n01/2.jpg", 4)
    served.put("sketch.zip", zip_of(tmp_path / "made", "sketch"))
    answer = said("fetch", "domain-adaptation", "--root", str(again))
    assert answer.exit_code == 1
    assert "has another SHA256 than expected" in answer.output
    assert "take its entry out to accept what comes now" in answer.output
    assert not (again / "imagenet-sketch").exists()
    served.put("sketch.zip", first)
    assert (
        "SHA256 as expected (kept in pace-data.lock.json)"
        in said("fetch", "domain-adaptation", "--root", str(again)).output
    )


def test_an_archive_that_leads_out_is_refused_and_the_others_still_come(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = io.BytesIO()
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("sketch/1.jpg", b"x")
        archive.writestr("../../escaped", b"x")
    write_image(tmp_path / "made/n01/1.jpg", 3)
    parts = [
        DataPart(name="bad", homes=["a"], to="i", archive=served.put("a.zip", evil.getvalue()), folder="sketch"),
        DataPart(
            name="good", homes=["b"], to="i", archive=served.put("b.zip", zip_of(tmp_path / "made", "s")), folder="s"
        ),
    ]
    from_(monkeypatch, "fgvc", parts)
    answer = said("fetch", "fgvc", "--root", str(tmp_path / "data"))
    assert answer.exit_code == 1
    assert "../../escaped: leads out of the folder" in answer.output
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "data/a").exists()
    assert list(json.loads((tmp_path / "data/pace-data.lock.json").read_text())) == [parts[1].archive]
    assert (tmp_path / "data/b/i/n01/1.jpg").is_file()


def test_an_archive_of_another_shape_and_a_server_that_is_gone_are_told(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "made/1.jpg", 3)
    url = served.put("a.zip", zip_of(tmp_path / "made", "other"))
    parts = [
        DataPart(name="shape", homes=["a"], to="i", archive=url, folder="images", by_hand="ask the makers"),
        DataPart(name="gone", homes=["b"], to="i", archive=f"{served.url}/gone", folder="images"),
    ]
    from_(monkeypatch, "fgvc", parts)
    answer = said("fetch", "fgvc", "--root", str(tmp_path / "data"))
    assert answer.exit_code == 1
    assert "has no folder images, but other; it has changed. Or: ask the makers" in answer.output
    assert "the server answers 404" in answer.output


def test_a_disk_that_fills_up_while_unpacking_is_told_and_the_archive_kept(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made").mkdir()
    for number in range(4):
        (tmp_path / f"made/{number}.jpg").write_bytes(bytes(100_000))
    url = served.put("a.tgz", tar_of(tmp_path / "made", "i"))
    from_(monkeypatch, "fgvc", [DataPart(name="all", homes=["a"], to="i", archive=url, folder="i")])
    with small_disk(tmp_path / "disk", 700) as disk:
        filler = fill(disk, leaving=150_000)
        answer = said("fetch", "fgvc", "--root", str(disk))
        assert answer.exit_code == 1
        assert "there is no room in" in answer.output
        assert not (disk / "a").exists()
        filler.unlink()
        served.asked.clear()
        assert said("fetch", "fgvc", "--root", str(disk)).exit_code == 0
        assert served.asked == []
        assert len(list((disk / "a/i").iterdir())) == 4


@pytest.mark.parametrize(
    ("lock", "why"),
    [("[1]", "is no object of files by address"), ('{"%s": {"sha256": 5}}', "an entry has no sha256 as text")],
)
def test_a_lock_file_that_is_not_ours_is_told(
    lock: str, why: str, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = served.put("a.zip", b"x")
    from_(monkeypatch, "fgvc", [DataPart(name="all", homes=["a"], to="i", archive=url, folder="i")])
    (tmp_path / "pace-data.lock.json").write_text(lock.replace("%s", url))
    answer = said("fetch", "fgvc", "--root", str(tmp_path))
    assert answer.exit_code == 1
    assert why in answer.output


@pytest.mark.parametrize("place", ["a", "a/i"])
def test_a_file_in_the_place_of_a_folder_is_left_alone(
    place: str, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "made/1.jpg", 3)
    url = served.put("a.zip", zip_of(tmp_path / "made", "i"))
    from_(monkeypatch, "fgvc", [DataPart(name="all", homes=["a"], to="i", archive=url, folder="i")])
    file = tmp_path / "data" / place
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    answer = said("fetch", "fgvc", "--root", str(tmp_path / "data"))
    assert answer.exit_code == 1
    assert f"{file} is no folder; move it away" in answer.output
    assert file.read_text() == "mine"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "http://[::1", "", "http://127.0.0.1:1/x"])
def test_an_address_that_is_none_is_told(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_(monkeypatch, "fgvc", [DataPart(name="all", homes=["a"], to="i", archive=url or "x", folder="i")])
    answer = said("fetch", "fgvc", "--root", str(tmp_path))
    assert answer.exit_code == 1
    assert "cannot be fetched" in answer.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["vtab", "--root", "x"], "there is no benchmark 'vtab'"),
        (["vtab-1k", "--root", "x", "--task", "cifer"], "has no task 'cifer'; did you mean 'cifar'?"),
        (["vtab-mini", "--root", "x"], "drawn on the spot"),
        (["fgvc", "--root", "/proc/nowhere"], "cannot be written"),
    ],
)
def test_what_cannot_be_fetched_says_why(arguments: list[str], why: str) -> None:
    answer = said("fetch", *arguments)
    assert answer.exit_code == 1
    assert why in answer.output


def test_every_part_is_whole_and_lies_where_its_source_looks() -> None:
    """Each has one way to get it; folders bear the names that the sources know."""
    named = {
        "few-shot": {task: set(names) for task, names in few_shot.FOLDERS.items()},
        "fgvc": {task: set(data_set.folders) for task, data_set in fgvc.DATA_SETS.items()},
        "domain-adaptation": {
            "imagenet": {"few-shot/imagenet", "imagenet"},
            **{
                task: {f"domain-generalization/{name}" for name in domain.folders}
                for task, domain in imagenet_shots.TEST_SETS.items()
            },
        },
        "vtab-1k": {},
    }
    for benchmark, homes in named.items():
        parts = load_benchmarks()[benchmark].parts
        assert parts
        assert set(homes) == {each for part in parts for each in part.of}
        for part in parts:
            assert bool(part.archive) + bool(part.files) + (bool(part.by_hand) and not part.archive) == 1, part.name
            assert all(set(part.homes) <= homes[each] for each in part.of)
            assert bool(part.sha256 or part.md5 or part.files) == bool(part.checksum)
            assert all(len(digest) == 64 for digest in part.files.values())
            assert part.terms
