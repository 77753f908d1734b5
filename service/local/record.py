"""Records that the local stack keeps in its state folder."""

import fcntl
import hashlib
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from service.local.identity import Identity


class Part(BaseModel):
    """One process of the stack."""

    process: Identity | None = None
    """None between its end and its next start."""
    restarts: int = 0
    log: str


class Record(BaseModel):
    """The running stack, as its supervisor sees it; what `pace down` ends if the supervisor is gone."""

    supervisor: Identity
    started_at: datetime
    url: str
    host: str = "127.0.0.1"
    """Where the API listens."""
    settings: dict[str, str] = {}
    """Digest of each setting that it was started with, by its name in the environment."""
    mlflow_url: str | None = None
    ray_address: str | None = None
    parts: dict[str, Part] = {}


class Folder:
    """The state folder: database, storage, logs, keys, and who runs."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.postgres = self.path / "postgres"
        self.storage = self.path / "storage"
        self.logs = self.path / "logs"
        self.client = self.path / "client.json"
        self.keys = self.path / "keys.json"
        self.ray_token = self.path / "ray-token"
        digest = hashlib.sha256(str(self.path).encode()).hexdigest()[:8]
        # short and outside: the paths of Ray's sockets must fit into 107 bytes
        self.ray = Path("/tmp") / f"pace-ray-{os.getuid()}-{digest}"
        self._record = self.path / "stack.json"
        self._lock = self.path / "lock"

    def make(self) -> None:
        """Makes the folders."""
        for folder in (self.path, self.storage, self.logs):
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def held(self) -> Generator[bool]:
        """Holds the stack's lock, given back by the system if we die; False where another process holds it."""
        with self._lock.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def running(self) -> bool:
        """Tells whether a supervisor runs on this folder."""
        if not self._lock.exists():
            return False
        with self.held() as free:
            return not free

    def read(self) -> Record | None:
        """Returns the record of the stack that runs or ran last; None where there is none."""
        try:
            return Record.model_validate_json(self._record.read_text("utf-8"))
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, record: Record) -> None:
        """Keeps the record, whole or not at all."""
        write_private(self._record, record.model_dump_json(indent=2))

    def forget(self) -> None:
        """Removes the record, as nothing of the stack runs any more."""
        self._record.unlink(missing_ok=True)

    def read_client(self) -> dict[str, str]:
        """Returns addresses and a user's key: what may be handed over. Empty where there is none yet."""
        return read_client(self.client)

    def read_keys(self) -> dict[str, str]:
        """Returns the stack's own keys by role, which stay here; empty where there are none yet."""
        return read_client(self.keys)


def read_client(file: Path) -> dict[str, str]:
    """Returns the texts by name in that file; empty where there is none, or it is no such file."""
    try:
        said = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): v for k, v in said.items() if isinstance(v, str)} if isinstance(said, dict) else {}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def write_private(file: Path, text: str) -> None:
    """Replaces the file at once; only its owner may read it."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    fresh.replace(file)
