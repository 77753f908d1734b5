"""Uploads of data sets: a folder of images becomes an archive, which is sent in parts."""

import asyncio
import hashlib
import os
import tempfile
import zipfile
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

from pace_core.spec.errors import Fault, SpecError
from service.client.connection import Connection
from service.datasets.schemas import DatasetRequest, DatasetView

PAGE = 100
_CHUNK = 2**20
_PART_S = 120.0
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)

Told = Callable[[int, int], None]
"""Told of the bytes that are there, and of all."""


class AsyncDatasets:
    """The uploaded data sets that the key can see."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def upload(
        self, path: str | Path, name: str | None = None, project: str | None = None, told: Told | None = None
    ) -> DatasetView:
        """Uploads a folder in one of the layouts that are read, or a zip or tar file of one, and has a worker check it.

        Where the same content was sent before in part, it goes on there; where all of it was, nothing is sent. `name`
        is that of the folder or file where None. Raises SpecError for a path that cannot be sent.
        """
        given = Path(path).expanduser()
        with tempfile.TemporaryDirectory() as folder:
            archive = await asyncio.to_thread(_archive, given, Path(folder))
            sha256 = await asyncio.to_thread(_sha256, archive)
            asked = DatasetRequest(
                name=name or _name(given), bytes=archive.stat().st_size, sha256=sha256, project=project
            )
            body = asked.model_dump(mode="json", exclude_none=True)
            found = await self._view("POST", "/v1/datasets", body=body, safe=True)
            if found.state == "receiving":
                await self._send(found, archive, told)
                found = await self._view("POST", f"/v1/datasets/{found.id}/complete", safe=True)
        return found

    async def get(self, dataset: str) -> DatasetView:
        """Returns the data set as it is now."""
        return await self._view("GET", f"/v1/datasets/{dataset}")

    async def list(self, limit: int | None = None) -> AsyncGenerator[DatasetView]:
        """Yields data sets, newest first, page after page as they are asked for."""
        async for entry in self._connection.pages("/v1/datasets", limit, PAGE):
            yield DatasetView.model_validate(entry)

    async def delete(self, dataset: str) -> None:
        """Deletes the data set with its files."""
        await self._connection.json("DELETE", f"/v1/datasets/{dataset}")

    async def _send(self, dataset: DatasetView, archive: Path, told: Told | None) -> None:
        with archive.open("rb") as source:
            at = dataset.received - dataset.received % dataset.part_bytes
            source.seek(at)
            while content := await asyncio.to_thread(source.read, dataset.part_bytes):
                path = f"/v1/datasets/{dataset.id}/parts/{at}"
                await self._connection.json("PUT", path, content=content, timeout_s=_PART_S)
                at += len(content)
                if told:
                    told(at, dataset.bytes)

    async def _view(self, method: str, path: str, *, body: object = None, safe: bool | None = None) -> DatasetView:
        return DatasetView.model_validate(await self._connection.json(method, path, body=body, safe=safe))


def _archive(path: Path, folder: Path) -> Path:
    """The archive to send: the file itself, or one of the folder's files, which is the same each time it is made."""
    if path.is_file() and path.name.lower().endswith(_ARCHIVES):
        return path
    if not path.is_dir():
        what = "is no zip or tar file" if path.exists() else "is not there"
        raise _refused(f"{path} {what}; give a folder, such as one of class folders, or an archive of one")
    archive = folder / "upload.zip"
    files = sorted(_files(path))
    if not files:
        raise _refused(f"{path} holds no files; give a folder of class folders, such as {path.name}/cat/1.jpg")
    with zipfile.ZipFile(archive, "w") as out:  # images hardly shrink: stored as they are
        for file in files:
            info = zipfile.ZipInfo(file.relative_to(path).as_posix(), _FIRST_DAY)
            with file.open("rb") as source, out.open(info, "w", force_zip64=True) as member:
                while piece := source.read(_CHUNK):
                    member.write(piece)
    return archive


def _files(folder: Path) -> Iterator[Path]:
    """Every file below that is not hidden; links to files are followed, links to folders are not."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root) / name for name in names if not name.startswith(".") and (Path(root) / name).is_file())


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _name(path: Path) -> str:
    name = path.resolve().name
    ending = next((each for each in sorted(_ARCHIVES, key=len, reverse=True) if name.lower().endswith(each)), "")
    said = name[: len(name) - len(ending)] if path.is_file() else name
    letters = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in said)
    return letters.lstrip("._-")[:100] or "images"


def _refused(message: str) -> SpecError:
    return SpecError([Fault(pointer="/path", code="missing", message=message)])
