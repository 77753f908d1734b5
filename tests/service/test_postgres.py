"""The embedded Postgres."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from service import postgres
from tests.small_disk import small_disk


def test_it_outlives_who_started_it_and_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    start = f"from pathlib import Path; from service import postgres; print(postgres.start(Path({str(folder)!r})))"
    started = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True)
    url = started.stdout.strip()
    try:
        assert postgres.running(folder)
        with psycopg.connect(url) as connection:
            assert connection.info.server_version >= 180000
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        assert postgres.start(folder) == url
        postgres.stop(folder)
        assert not postgres.running(folder)
        postgres.stop(folder)
        with psycopg.connect(postgres.start(folder)) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
        postgres.ensure_database(url, "mlflow")
        postgres.ensure_database(url, "mlflow")
        with psycopg.connect(postgres.database_url(folder, "mlflow")) as connection:
            assert connection.info.dbname == "mlflow"
    finally:
        postgres.stop(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees another user's server")
def test_under_root_it_runs_as_its_own_user_and_opens_no_folder_to_others(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    folder = private / "data"
    postgres.start(folder)
    try:
        assert folder.stat().st_uid != 0
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not stat.S_IMODE(private.stat().st_mode) & 0o007, "nobody else may pass through"
    finally:
        postgres.stop(folder)


def test_a_folder_too_deep_for_a_socket_works_too(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 20) / "data"
    url = postgres.start(folder)
    try:
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        postgres.stop(folder)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "somebody's file").write_text("x")
    with pytest.raises(RuntimeError, match="exists but is not empty"):
        postgres.start(folder)


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=2048) as disk:
        with pytest.raises(RuntimeError) as failed:
            postgres.start(disk / "data")
        cure = "free some space, or set PACE_STATE_DIR to another disk"
        assert str(failed.value) == f"{disk / 'data'} is on a full disk; {cure}"
