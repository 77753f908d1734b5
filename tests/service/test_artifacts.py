"""A job's files over HTTP."""

import hashlib
from pathlib import Path

import pytest

from tests.service.api import Api

CONTENT = bytes(range(256)) * 20


@pytest.fixture
async def job(api: Api) -> str:
    """A finished job that has left an adapter."""
    job = await api.submit()
    folder = api.storage / "jobs" / job / "1"
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(CONTENT)
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "state.safetensors").write_bytes(b"abc")
    (api.storage / "secret").write_bytes(b"not yours")
    return await api.finish(uri=f"{folder}/adapter.safetensors")


async def test_the_files_of_a_job_are_listed(api: Api, job: str) -> None:
    assert (await api.get(f"/v1/jobs/{job}/artifacts"))["data"] == [
        {"path": "1/adapter.safetensors", "bytes": len(CONTENT)},
        {"path": "1/checkpoint/state.safetensors", "bytes": 3},
    ]


async def test_a_file_and_the_adapter_are_downloaded_with_their_checksum(api: Api, job: str) -> None:
    for path in ("artifacts/1/adapter.safetensors", "adapter"):
        answer = await api.call("GET", f"/v1/jobs/{job}/{path}")
        assert answer.content == CONTENT
        assert answer.headers["x-checksum-sha256"] == hashlib.sha256(CONTENT).hexdigest()
        assert answer.headers["content-length"] == str(len(CONTENT))


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=5100-", 5100, 5120), ("bytes=-20", 5100, 5120), ("bytes=5000-9999", 5000, 5120)],
)
async def test_a_broken_download_goes_on_by_range(api: Api, job: str, asked: str, start: int, stop: int) -> None:
    answer = await api.call("GET", f"/v1/jobs/{job}/adapter", headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == CONTENT[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"


@pytest.mark.parametrize("asked", ["bytes=6000-", "bytes=9-5", "lines=1-2", "bytes=-", "bytes=-0"])
async def test_a_range_that_the_file_does_not_have_is_refused(api: Api, job: str, asked: str) -> None:
    answer = await api.call("GET", f"/v1/jobs/{job}/adapter", headers={"Range": asked})
    assert (answer.status_code, answer.json()["type"]) == (416, "/problems/range-not-satisfiable")


@pytest.mark.parametrize("path", ["..%2F..%2Fsecret", "1/..%2F..%2F..%2Fsecret", "1", "1/none"])
async def test_no_path_leads_out_of_the_job_s_folder(api: Api, job: str, path: str) -> None:
    assert (await api.call("GET", f"/v1/jobs/{job}/artifacts/{path}")).status_code == 404


async def test_an_adapter_outside_the_storage_is_not_served(api: Api) -> None:
    job = await api.submit()
    await api.finish(uri="/etc/hostname")
    assert (await api.call("GET", f"/v1/jobs/{job}/adapter")).status_code == 404
    other = await api.submit()
    await api.finish(uri=f"{api.storage}/jobs/{other}/../../secret")
    assert (await api.call("GET", f"/v1/jobs/{other}/adapter")).status_code == 404


async def test_a_job_without_files_has_an_empty_list(api: Api) -> None:
    job = await api.submit()
    assert (await api.get(f"/v1/jobs/{job}/artifacts"))["data"] == []


async def test_a_link_that_leads_out_of_the_job_s_folder_is_not_followed(api: Api, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cr3t")
    job = await api.submit()
    folder = api.storage / "jobs" / job / "1"
    folder.mkdir(parents=True)
    (folder / "own.txt").write_text("own")
    (folder / "inside").symlink_to(folder / "own.txt")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path)
    for path in ("1/link", "1/folder/secret"):
        assert (await api.call("GET", f"/v1/jobs/{job}/artifacts/{path}")).status_code == 404, path
    assert (await api.call("GET", f"/v1/jobs/{job}/artifacts/1/inside")).text == "own"
    listed = [file["path"] for file in (await api.get(f"/v1/jobs/{job}/artifacts"))["data"]]
    assert listed == ["1/inside", "1/own.txt"]
