"""What a worker reads for others, as its settings and the service say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pace_core import roots, storage
from pace_core.spec import RunError
from pace_core.urls import parse
from worker.settings import Settings


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A data root in which the service's storage lies too."""
    for name in ("images/cat.png", "storage/jobs/job_1/1/predictions.csv", "mount/jobs/job_1/1/adapter.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x")
    yield tmp_path
    roots.allow(None)


@pytest.mark.parametrize("scheme", ["", "file://", "local://"])
def test_what_the_storage_keeps_for_all_projects_is_no_spec_s_to_read(disk: Path, scheme: str) -> None:
    settings = Settings(data_roots=str(disk), storage=f"{scheme}{disk}/mount")
    roots.allow(roots.roots(**settings.roots(f"{scheme}{disk}/storage")))
    assert roots.data_path(disk / "images" / "cat.png").exists()
    for kept in ("storage/jobs/job_1/1/predictions.csv", "mount/jobs/job_1/1/adapter.safetensors", "storage"):
        for open_ in (roots.data_path, roots.weights_path):
            with pytest.raises(RunError, match="lies outside the folders"):
                open_(disk / kept)
    assert storage.read(str(disk / "storage/jobs/job_1/1/predictions.csv")) == b"x", "the run itself reads what is its"


@pytest.fixture
def open_afterwards() -> Iterator[None]:
    yield
    roots.allow(None)


@pytest.mark.usefixtures("open_afterwards")
@pytest.mark.parametrize("storage", ["s3://bucket/pace", "s3://bucket/pace/"])
def test_an_object_store_is_closed_where_its_bucket_is_a_root(storage: str) -> None:
    settings = Settings(data_roots="s3://bucket:/data", storage=storage)
    roots.allow(roots.roots(**settings.roots(storage)))
    roots.check_url(parse("s3://bucket/pace-images"), "path")
    for kept in ("s3://bucket/pace", "s3://bucket/pace/jobs/job_1/1/adapter.safetensors", "s3://other/x"):
        with pytest.raises(RunError, match="lies below no address that this worker reads for others"):
            roots.check_url(parse(kept), "path")


def test_a_storage_of_a_kind_that_specs_cannot_read_closes_nothing() -> None:
    assert roots.roots(**Settings(data_roots="/data").roots("abfss://box@account/pace")).closed_urls == ()


@pytest.mark.parametrize("root", ["ftp://host/x", "http://user:pw@host/x", "s3://", "s3://bucket/../x"])
def test_a_root_that_is_no_address_is_told_at_once(root: str) -> None:
    with pytest.raises(ValueError, match=f"PACE_DATA_ROOTS: {root}"):
        Settings(data_roots=f"/data:{root}").roots("")
