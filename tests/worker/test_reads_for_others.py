"""An attempt on data that are not on the node yet: at a URL that the operator allows, or uploaded in any layout."""

import hashlib
import io
import zipfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pace_core import remote
from pace_core.roots import allow, roots
from pace_core.spec import validate
from pace_core.spec.leases import Lease, Upload
from tests.http_files import http_files
from tests.pace_core.data.writing import write_image
from worker.attempt import Attempt
from worker.settings import Settings
from worker.uploads import folder_of


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    remote.release()
    allow(None)


def archive(folder: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for file in sorted(folder.rglob("*.*")):
            made.write(file, file.relative_to(folder).as_posix())
    return out.getvalue()


def photos(home: Path) -> Path:
    for number in range(20):
        write_image(home / f"class{number % 2}" / f"{number}.png", 100 * (number % 2) + number, (32, 32))
    return home


def ended(task: dict[str, Any], tmp_path: Path, upload: Upload | None = None) -> dict[str, Any]:
    """The end of an attempt on the task."""
    spec = {
        "task": {"name": "mine", **task},
        "backbone": {"name": "pace_vit_mini", "image_size": 32},
        "method": {"name": "linear"},
        "training": {"epochs": 1, "batch_size": 8},
    }
    lease = Lease(
        job="job_1", attempt=1, slot="s", token="t", spec=validate(spec).json_dict(), upload=upload,
        folder=str(tmp_path / "run"), resume_from=[], max_runtime_s=None,
    )  # fmt: skip
    attempt = Attempt(lease, "hello", "cpu")
    found: list[dict[str, Any]] = []
    while not attempt.outbox.closed or not attempt.outbox.empty:
        events = attempt.outbox.take(found[-1]["seq"] if found else 0, 5.0)
        found += [event.model_dump(mode="json") for event in events]
    return next(event["data"] for event in found if event["type"] == "end")


def test_a_run_reads_below_the_url_that_is_a_root_and_no_other(tmp_path: Path) -> None:
    with http_files() as served:
        inside = served.put("sets/photos.zip", archive(photos(tmp_path / "made")))
        outside = served.put("secret/photos.zip", archive(tmp_path / "made"))
        allow(roots(**Settings(data_roots=f"/nowhere:{served.url}/sets").roots("")))
        said = ended({"source": "image_folder", "path": inside}, tmp_path)
        assert said["reason"] == "succeeded", said
        assert said["result"]["data"]["images"] == {"train": 16, "test": 4}
        refused = ended({"source": "image_folder", "path": outside}, tmp_path)
        assert refused["reason"] == "data_missing"
        assert "lies below no address that this worker reads for others" in refused["message"]
        assert "/secret/photos.zip" not in [path for path, _ in served.asked]


def test_a_run_on_an_upload_that_is_a_table_with_its_images(tmp_path: Path) -> None:
    made = photos(tmp_path / "made")
    lines = [f"{file.relative_to(made).as_posix()},{file.parent.name}" for file in sorted(made.rglob("*.png"))]
    (made / "labels.csv").write_text("\n".join(["path,label", *lines]))
    content = archive(made)
    (tmp_path / "part").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    upload = Upload(id="ds_1", name="photos", sha256=digest, parts=[str(tmp_path / "part")])
    allow(roots([str(folder_of(upload))], []))
    said = ended({"source": "uploaded", "dataset": "photos"}, tmp_path, upload)
    assert said["reason"] == "succeeded", said
    assert said["result"]["data"]["images"] == {"train": 16, "test": 4}
    gone = ended({"source": "uploaded", "dataset": "photos"}, tmp_path)
    assert gone["reason"] == "data_missing"
    assert "there is no data set 'photos' here; `pace dataset list` shows those of your project" in gone["message"]
