"""What the parts of the stack are told."""

from pathlib import Path

import pytest

from service.local.commands import worker_environment
from service.local.record import Folder


def roots(folder: Folder) -> str:
    return worker_environment(folder, "http://127.0.0.1:1", "key")["PACE_DATA_ROOTS"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    for name in ("PACE_DATA_ROOTS", "PACE_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Folder(tmp_path / "state")


def test_specs_read_below_the_home_and_the_folder_that_the_stack_was_started_in(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert roots(folder) == f"{tmp_path}/home:{tmp_path}"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert roots(folder) == str(tmp_path)


def test_neither_the_whole_disk_nor_what_the_stack_keeps_is_opened_by_where_it_was_started(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setenv("PACE_STORAGE", str(tmp_path / "mount"))
    for place in (Path("/"), folder.storage / "jobs", tmp_path / "mount"):
        place.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(place)
        assert roots(folder) == "", place
    monkeypatch.setenv("PACE_DATA_ROOTS", "/")
    assert roots(folder) == "/", "whoever writes / means it"
