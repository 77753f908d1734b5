"""Whether the storage can be used is told at the start, and by /readyz from then on."""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fsspec import register_implementation
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from service.app import create_app
from service.jobs.files import list_files
from service.settings import Settings
from service.storage.root import Health, StorageUnusable, opened, probe_for_ever
from tests.service.api import Api
from tests.service.small_catalogue import small_catalogue


async def probed(storage: str, min_free_bytes: int = 0) -> Health:
    health = Health()
    probing = asyncio.create_task(probe_for_ever(storage, min_free_bytes, health))
    while health.at is None:
        await asyncio.sleep(0.01)
    probing.cancel()
    with suppress(asyncio.CancelledError):
        await probing
    return health


async def test_a_storage_is_tried_by_writing_and_leaves_nothing_behind(tmp_path: Path) -> None:
    health = await probed(str(tmp_path / "new"))
    assert (health.ok, health.detail) == (True, "")
    assert list((tmp_path / "new").iterdir()) == []


async def test_one_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    health = await probed(str(tmp_path / "file"))
    assert not health.ok
    assert health.detail.startswith("cannot be written and read: ")


async def test_one_without_room_is_named_before_it_is_full(tmp_path: Path) -> None:
    health = await probed(str(tmp_path), min_free_bytes=2**60)
    assert not health.ok
    assert health.detail.endswith("GiB are free, less than the 1073741824.00 that should be; delete jobs")


async def test_readyz_shows_it(api: Api) -> None:
    async with asyncio.timeout(10):
        while (part := (await api.get("/readyz"))["parts"]["storage"])["at"] is None:
            await asyncio.sleep(0.02)
    assert (part["status"], part["detail"]) == ("ok", "")


async def test_a_start_without_the_client_of_its_object_store_names_the_extra(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where it is not installed
    monkeypatch.delitem(_registry, "s3", raising=False)  # of a test before
    app = create_app(Settings(database_url=postgres_url, storage="s3://bucket/pace"), small_catalogue)
    with pytest.raises(StorageUnusable, match=r"PACE_STORAGE=s3://bucket/pace.* .pip install 'pace-finetune\[s3\]'"):
        async with app.router.lifespan_context(app):
            pass


@pytest.mark.parametrize("address", ["nosuch://x/y", "s4://b"])
def test_an_address_that_nothing_knows_is_refused(address: str) -> None:
    with pytest.raises(StorageUnusable, match="PACE_STORAGE="):
        opened(address)


class Remembering(MemoryFileSystem):
    """A storage whose client keeps what it has listed, as that of S3 does."""

    protocol = "remembering"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("remembering://", "memory://"))

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        path = self._strip_protocol(path)
        try:
            found = self.dircache[path]
        except KeyError:
            found = self.dircache[path] = super().ls(path, detail=True)
        return found if detail else [info["name"] for info in found]


async def test_what_a_worker_writes_after_a_look_is_found_by_the_next() -> None:
    register_implementation("remembering", Remembering, clobber=True)
    root, worker = "remembering:///pace", MemoryFileSystem()
    for name in ("adapter.safetensors", "predictions.csv"):
        worker.pipe_file(f"/pace/jobs/job_1/1/{name}", b"x")
        assert (f"1/{name}", 1) in await list_files(root, "job_1")
    filesystem, path = opened(root)
    filesystem.ls(f"{path}/jobs/job_1/1")
    worker.pipe_file("/pace/jobs/job_1/1/late.csv", b"x")
    assert any(name.endswith("late.csv") for name in filesystem.ls(f"{path}/jobs/job_1/1", detail=False))
    worker.rm("/pace", recursive=True)
