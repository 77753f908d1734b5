"""Version of the code that this process runs."""

import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

PACKAGES = ("pace_core", "worker")


@cache
def code_version() -> str:
    """Hashes the sources of core and worker, as they were at the first call in this process."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        _add(files(package), package, digest)
    return digest.hexdigest()[:12]


def _add(folder: Traversable, path: str, digest: "hashlib._Hash") -> None:
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir() and entry.name != "__pycache__":
            _add(entry, f"{path}/{entry.name}", digest)
        elif entry.name.endswith((".py", ".json", ".toml")):
            digest.update(f"{path}/{entry.name}\0".encode() + entry.read_bytes())
