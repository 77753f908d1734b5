"""What a worker reads for others, as its settings and the service say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pace_core import roots, storage
from pace_core.spec import RunError
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


def test_an_object_store_closes_no_folder(disk: Path) -> None:
    settings = Settings(data_roots=str(disk), storage="s3://bucket/pace")
    assert settings.roots("s3://bucket/pace")["closed"] == []
