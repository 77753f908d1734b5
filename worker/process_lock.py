"""Locks that the kernel lets go when their process is dead, and not before, whatever Ray or a supervisor believes."""

import fcntl
import hashlib
import os
import signal
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_LOOK_S = 0.05


class StillHeld(RuntimeError):
    """Another process holds the lock and does not end."""


def hold(name: str, patience_s: float) -> int:
    """Takes the lock for the rest of this process's life; returns its file descriptor.

    A holder that has not ended after `patience_s` is killed. Raises StillHeld where it lives on all the same.
    """
    descriptor = os.open(_path(name), os.O_RDWR | os.O_CREAT, 0o600)
    began = time.monotonic()
    killed = False
    while not _take(descriptor):
        waited = time.monotonic() - began
        if waited > 2 * patience_s + 1:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise StillHeld(f"process {holder} holds {name} and cannot be ended")
        if waited > patience_s and not killed:
            killed = True
            with suppress(OSError):
                os.kill(_holder(descriptor), signal.SIGKILL)
        time.sleep(_LOOK_S)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def is_dead(name: str) -> bool:
    """Tells whether a process of this machine held that lock and is gone; False where no such one is known here."""
    try:
        descriptor = os.open(_path(name), os.O_RDWR)
    except OSError:
        return False
    try:
        return _take(descriptor)
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        # of the process, not of the open file: children that it leaves behind do not hold it
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _holder(descriptor: int) -> int:
    said = os.pread(descriptor, 20, 0)
    pid = int(said) if said.isdigit() else 0
    return pid if pid > 1 else os.getpid() + (1 << 30)  # nobody's


def _path(name: str) -> Path:
    folder = Path(tempfile.gettempdir()) / f"pace-locks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StillHeld(f"{folder} belongs to somebody else; remove it, or set TMPDIR")
    return folder / hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:32]
