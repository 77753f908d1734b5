"""Which files a spec can have a worker open: none but those below the roots, whatever the path says."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pace_core import data, roots
from pace_core.backbones import vision
from pace_core.spec import Backbone, RunError
from tests.pace_core.data.writing import Silent, squashed

SECRET = "pace_this_is_a_key"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the root, with a secret and images."""
    folder = tmp_path / "outside"
    for name in ("cat", "dog"):
        images(folder / "images" / name)
    (folder / "secret").write_text(f"PACE_API_KEY={SECRET}\n")
    return folder


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Iterator[Path]:
    """The data root of a worker, with two classes of images."""
    folder = tmp_path / "root"
    for name in ("cat", "dog"):
        images(folder / "images" / name)
    (folder / ".ssh").mkdir()
    (folder / ".ssh" / "id").write_text(SECRET)
    (folder / "state").mkdir()
    (folder / "state" / "keys.json").write_text(SECRET)
    roots.allow(roots.roots([str(folder)], [str(folder)], [str(folder / "state")]))
    yield folder
    roots.allow(None)


def images(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(folder / f"{number}.png")


def load(source: str, **params: Any) -> Any:
    found = data.find(source)
    given = found.params.model_validate(params)
    return found.load(given, phase="final", num_classes=None, preprocessing=squashed(8), reporter=Silent())


def refusal(open_: Callable[[], Any]) -> RunError:
    with pytest.raises(RunError) as refused:
        open_()
    assert SECRET not in refused.value.message
    return refused.value


def csv_of(root: Path, *paths: str) -> str:
    rows = [f"{path},{label},{split}\n" for label in "ab" for split in ("train", "test") for path in paths]
    (root / "list.csv").write_text("path,label,split\n" + "".join(rows))
    return str(root / "list.csv")


def test_what_lies_below_a_root_is_read_also_by_links_that_stay_there(root: Path) -> None:
    (root / "link").symlink_to(root / "images")
    assert len(load("image_folder", path=str(root / "images")).train) == 4
    assert len(load("image_folder", path=str(root / "link")).train) == 4
    assert len(load("csv", path=csv_of(root, "images/cat/0.png"), split_column="split").train) == 2


@pytest.mark.parametrize("path", ["/proc/self/environ", f"/proc/{os.getppid()}/environ", "/etc/passwd", "/etc/none"])
def test_no_file_outside_is_opened_nor_said_to_be_there(root: Path, path: str) -> None:
    refused = refusal(lambda: load("csv", path=path))
    assert refused.reason == "data_missing"
    assert f"task.path: {path}" in refused.message
    assert "root:" not in refused.message
    assert path.startswith("/proc") or "PACE_DATA_ROOTS" in refused.message


@pytest.mark.parametrize("path", ["outside/secret", "root/../outside/secret", "root/.ssh/id", "root/state/keys.json"])
def test_neither_dots_nor_hidden_nor_closed_folders_lead_to_a_secret(root: Path, path: str) -> None:
    refused = refusal(lambda: load("csv", path=str(root.parent / path)))
    assert "PACE_DATA_ROOTS" in refused.message


def test_a_link_that_leads_out_is_refused_wherever_it_stands(root: Path, outside: Path) -> None:
    (root / "list").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside / "images")
    (root / "images" / "bird").symlink_to(outside / "images" / "cat")
    refusal(lambda: load("csv", path=str(root / "list")))
    refusal(lambda: load("image_folder", path=str(root / "folder")))
    assert "0.png" not in refusal(lambda: load("image_folder", path=str(root / "images"))).message
    (root / "images" / "bird").unlink()
    (root / "images" / "cat" / "link.png").symlink_to(outside / "images" / "cat" / "0.png")
    assert "link.png" in refusal(lambda: load("image_folder", path=str(root / "images"))).message


@pytest.mark.parametrize("row", ["../outside/images/cat/0.png", "{outside}/images/cat/0.png", "/proc/self/environ"])
def test_the_files_that_a_list_names_are_held_to_the_roots_too(root: Path, outside: Path, row: str) -> None:
    path = csv_of(root, row.format(outside=outside))
    assert "list.csv line 2" in refusal(lambda: load("csv", path=path, split_column="split")).message


def test_weights_are_read_below_their_roots_only(root: Path, outside: Path) -> None:
    secret = outside / "weights.pth"
    secret.write_text(SECRET)
    for path in (str(secret), f"{root}/../outside/weights.pth", "/etc/none.safetensors"):
        refused = refusal(lambda path=path: vision.load(Backbone(weights=path), num_classes=2, drop_path=0.0))
        assert refused.reason == "weights_missing"
        assert "PACE_WEIGHTS_ROOTS" in refused.message
    assert vision.load(Backbone(), num_classes=2, drop_path=0.0).family == "vit", "what ships is always there"


def test_a_root_below_a_closed_folder_was_named_on_purpose_and_is_open(root: Path) -> None:
    own = root / "state" / "images"
    images(own / "cat")
    images(own / "dog")
    assert "PACE_DATA_ROOTS" in refusal(lambda: load("image_folder", path=str(own))).message
    roots.allow(roots.roots([str(root), str(own)], [], [str(root / "state")]))
    assert len(load("image_folder", path=str(own)).train) == 4
    refusal(lambda: load("csv", path=str(root / "state" / "keys.json")))


def test_a_home_that_is_the_whole_disk_opens_none_of_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    roots.allow(roots.roots(["~"], ["~"]))
    assert "none are named" in refusal(lambda: load("image_folder", path=str(root / "images"))).message
    roots.allow(roots.roots(["/"], ["/"]))
    assert len(load("image_folder", path=str(root / "images")).train) == 4, "whoever writes / means it"


def test_devices_and_pipes_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in ("/dev/zero", "/proc/self/environ", str(tmp_path / "pipe.csv")):
        refusal(lambda path=path: load("csv", path=path))
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    refusal(lambda: load("csv", path=str(tmp_path / "zero.csv")))


def test_without_roots_files_are_read_wherever_they_lie(outside: Path) -> None:
    assert len(load("image_folder", path=str(outside / "images")).train) == 4
