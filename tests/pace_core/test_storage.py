"""Files are there whole or not at all."""

import errno
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from pace_core import storage
from pace_core.spec import RunError


def test_a_file_is_replaced_in_one_move(tmp_path: Path) -> None:
    url = storage.join(f"file://{tmp_path}/deep/", "a.bin")
    assert storage.read(url) is None
    storage.write(url, b"old")
    storage.write(url, b"new")
    assert storage.read(url) == b"new"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.bin"]


def test_a_full_disk_keeps_the_old_file_and_leaves_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = storage.join(str(tmp_path), "a.bin")
    storage.write(url, b"old")

    def full(self: LocalFileSystem, path: str, value: bytes, **_: object) -> None:
        Path(path).write_bytes(value[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalFileSystem, "pipe_file", full)
    with pytest.raises(RunError) as failed:
        storage.write(url, b"new")
    assert failed.value.reason == "disk_full"
    assert storage.read(url) == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
