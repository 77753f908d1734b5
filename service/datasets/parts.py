"""The parts of an upload in the storage: one file each, named by where in the archive it begins."""

import asyncio
import uuid
from contextlib import suppress
from typing import Any

from service.storage.root import opened


def folder_of(storage_root: str, dataset: str) -> str:
    """Returns the fsspec URL of a data set's folder."""
    return f"{storage_root}/datasets/{dataset}"


async def write(storage_root: str, dataset: str, offset: int, content: bytes) -> None:
    """Stores a part, all of it or nothing; one that is there is replaced."""
    await asyncio.to_thread(_write, storage_root, dataset, offset, content)


async def found(storage_root: str, dataset: str) -> list[tuple[str, int]]:
    """Returns name and bytes of the parts that follow each other from the archive's beginning without a gap."""
    return await asyncio.to_thread(_found, storage_root, dataset)


async def delete(storage_root: str, dataset: str) -> None:
    """Deletes all that was uploaded."""
    await asyncio.to_thread(_delete, storage_root, dataset)


def _write(storage_root: str, dataset: str, offset: int, content: bytes) -> None:
    filesystem, root = opened(storage_root)
    folder = f"{root}/datasets/{dataset}"
    filesystem.makedirs(folder, exist_ok=True)
    beside = f"{folder}/.{uuid.uuid4().hex}"
    try:
        filesystem.pipe_file(beside, content)
        filesystem.mv(beside, f"{folder}/{offset:015d}")
    except BaseException:
        with suppress(Exception):
            filesystem.rm_file(beside)
        raise


def _found(storage_root: str, dataset: str) -> list[tuple[str, int]]:
    filesystem, root = opened(storage_root)
    folder = f"{root}/datasets/{dataset}"
    filesystem.invalidate_cache()
    listed: list[dict[str, Any]] = filesystem.ls(folder, detail=True) if filesystem.exists(folder) else []
    sizes = {each["name"].rpartition("/")[2]: int(each["size"] or 0) for each in listed}
    whole: list[tuple[str, int]] = []
    at = 0
    while (name := f"{at:015d}") in sizes and sizes[name]:
        whole.append((name, sizes[name]))
        at += sizes[name]
    return whole


def _delete(storage_root: str, dataset: str) -> None:
    filesystem, root = opened(storage_root)
    with suppress(FileNotFoundError):
        filesystem.rm(f"{root}/datasets/{dataset}", recursive=True)
