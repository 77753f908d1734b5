"""The stacks that a user has started, wherever that was."""

import shutil
from pathlib import Path

import pytest

from service.client.cli.local import tell_of_others
from service.local.known import known_stacks, remember, running_stacks
from service.local.record import Folder


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A stack that was started once, by a user who has no other."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("PACE_STATE_DIR", raising=False)
    folder = Folder(tmp_path / "project" / ".state")
    folder.make()
    remember(folder)
    return folder


def test_a_stack_is_known_after_its_end_and_forgotten_with_its_folder(mine: Folder) -> None:
    assert [folder.path for folder in known_stacks()] == [mine.path]
    assert running_stacks() == []
    with mine.held():
        assert [folder.path for folder in running_stacks()] == [mine.path]
    shutil.rmtree(mine.path)
    assert known_stacks() == []


def test_whoever_starts_a_second_one_is_told_of_the_first(
    mine: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = Folder(tmp_path / "photos" / ".state")
    tell_of_others(photos)
    said = capsys.readouterr().out
    assert f"PACE_STATE_DIR={mine.path} pace up    is stopped" in said
    with mine.held():
        tell_of_others(photos)
    assert "pace up    runs" in capsys.readouterr().out


def test_nobody_is_told_where_the_stack_is_not_new_or_was_named(
    mine: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.postgres.mkdir()
    tell_of_others(mine)
    monkeypatch.setenv("PACE_STATE_DIR", str(tmp_path / "named"))
    tell_of_others(Folder(tmp_path / "named"))
    assert capsys.readouterr().out == ""
