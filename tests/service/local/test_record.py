"""What the state folder says, also after a crash."""

import os
import socket
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service import postgres
from service.local import stack
from service.local.identity import Identity
from service.local.ports import chosen_port, free_port
from service.local.record import Folder, Part, Record, write_private


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "state")
    folder.make()
    return folder


def test_one_stack_a_folder(folder: Folder) -> None:
    assert not folder.running()
    with folder.held() as ours:
        assert ours
        assert folder.running()
        with folder.held() as second:
            assert not second
    assert not folder.running()


def test_a_folder_left_by_a_crash_is_cleared(folder: Folder) -> None:
    gone = Identity(pid=os.getpid(), started="an earlier boot/1")  # an id that somebody else has by now: us
    parts = {"api": Part(process=gone, log="api.log")}
    folder.write(Record(supervisor=gone, started_at=datetime.now(UTC), url="http://127.0.0.1:1", parts=parts))
    assert stack.stop(folder) is False
    assert folder.read() is None


def test_a_record_that_cannot_be_read_is_no_record(folder: Folder) -> None:
    (folder.path / "stack.json").write_text('{"supervisor": ')
    assert folder.read() is None
    (folder.path / "client.json").write_text("")
    assert folder.read_client() == {}


def test_secrets_are_their_owners(folder: Folder) -> None:
    write_private(folder.client, "{}")
    assert stat.S_IMODE(folder.client.stat().st_mode) == 0o600


def test_two_folders_share_nothing(tmp_path: Path) -> None:
    assert Folder(tmp_path / "a").ray != Folder(tmp_path / "b").ray
    # a session's folder and a socket's name come below it, and all must fit into 107 bytes
    assert len(str(Folder(tmp_path / ("long" * 50)).ray)) < 40


def test_a_taken_port_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port
        monkeypatch.setenv("PACE_PORT", str(port))
        with pytest.raises(RuntimeError, match=f"port {port} is taken"):
            chosen_port(8321)


def test_a_stranger_with_a_dead_database_servers_id_is_not_taken_for_it(folder: Folder) -> None:
    folder.postgres.mkdir()
    lines = (str(os.getpid()), str(folder.postgres), "0", "5432", str(folder.postgres), "", "0 0", "ready   ")
    (folder.postgres / "postmaster.pid").write_text("\n".join(lines))
    assert not postgres.running(folder.postgres)
    assert stack.stop(folder) is False  # or this process were interrupted
