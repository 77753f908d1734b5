"""The storage root, and whether it can be used."""

import asyncio
import shutil
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import structlog
from fsspec.core import url_to_fs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from fsspec.implementations.local import LocalFileSystem  # pyright: ignore[reportMissingTypeStubs]

_PROBE_EVERY_S = 10.0
_EXTRAS = {"s3": "s3", "s3a": "s3"}
"""Protocol → the extra of this package that brings its client."""
_log = structlog.get_logger()


class StorageUnusable(RuntimeError):
    """PACE_STORAGE cannot be used; the message says why and what to do."""


def opened(storage_root: str) -> tuple[Any, str]:
    """Returns the fsspec file system of the root, and the root's path in it. Raises StorageUnusable.

    It remembers no listing: workers write there too, of which this process hears nothing.
    """
    protocol = storage_root.partition("://")[0]
    try:
        filesystem, path = cast(tuple[Any, str], url_to_fs(storage_root, use_listings_cache=False))
    except ImportError as error:  # fsspec knows the protocol, and its client is not installed
        cure = f"pip install 'pace-finetune[{_EXTRAS[protocol]}]'" if protocol in _EXTRAS else str(error)
        raise StorageUnusable(
            f"PACE_STORAGE={storage_root}: the client of {protocol}:// is not installed ({cure})"
        ) from None
    except ValueError as error:
        raise StorageUnusable(f"PACE_STORAGE={storage_root} is not an address that fsspec knows: {error}") from None
    return filesystem, path.rstrip("/")


@dataclass
class Health:
    """Outcome of the last probe of the storage."""

    ok: bool = False
    detail: str = "not looked at yet"
    at: datetime | None = None


async def probe_for_ever(storage_root: str, min_free_bytes: int, health: Health) -> None:
    """Writes, reads and deletes a small file again and again, and looks how much room is left."""
    while True:
        trouble = await asyncio.to_thread(_trouble, storage_root, min_free_bytes)
        if trouble and trouble != health.detail:
            _log.error("the storage cannot be relied on", trouble=trouble)
        health.ok, health.detail, health.at = not trouble, trouble, datetime.now(UTC)
        await asyncio.sleep(_PROBE_EVERY_S)


def _trouble(storage_root: str, min_free_bytes: int) -> str:
    """Says what is wrong; empty where nothing is."""
    content = uuid.uuid4().hex.encode()
    try:
        filesystem, root = opened(storage_root)
        file = f"{root}/.probe-{content.decode()[:12]}"
        filesystem.makedirs(root, exist_ok=True)
        filesystem.pipe_file(file, content)
        found = filesystem.cat_file(file)
        filesystem.rm_file(file)
        free = shutil.disk_usage(root).free if isinstance(filesystem, LocalFileSystem) else None
    except Exception as error:  # each kind of storage has its own
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"cannot be written and read: {said.splitlines()[0]}"
    if found != content:
        return "does not give back what was written"
    if free is not None and free < min_free_bytes:
        return (
            f"{free / 2**30:.2f} GiB are free, less than the {min_free_bytes / 2**30:.2f} that should be; delete jobs"
        )
    return ""
