"""What a node fetches of the service's storage: checked, unpacked once, and kept from everybody else."""

import hashlib
import io
import shutil
import zipfile
from pathlib import Path

import pytest

from pace_core.spec import RunError
from pace_core.spec.leases import Upload
from worker.uploads import fetched, folder_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pace" / ".datasets"


def upload(tmp_path: Path, members: dict[str, bytes], parts: int = 3, id: str = "ds_1") -> Upload:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    content = out.getvalue()
    size = -(-len(content) // parts)
    urls: list[str] = []
    for number in range(parts):
        file = tmp_path / f"part-{number}"
        file.write_bytes(content[number * size : (number + 1) * size])
        urls.append(str(file))
    return Upload(id=id, name="photos", sha256=hashlib.sha256(content).hexdigest(), parts=urls)


def test_its_parts_are_joined_and_unpacked_once(tmp_path: Path) -> None:
    made = upload(tmp_path, {"photos/cat/1.jpg": b"cat", "photos/dog/1.jpg": b"dog", "__MACOSX/x": b""})
    folder = fetched(made)
    assert sorted(each.name for each in folder.iterdir()) == ["cat", "dog"], "a single folder at the top is none of it"
    for part in made.parts:
        Path(part).unlink()
    assert fetched(made) == folder, "nothing is fetched again"


def test_another_content_than_announced_is_refused_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    made = upload(tmp_path, {"cat/1.jpg": b"cat", "dog/1.jpg": b"dog"})
    with pytest.raises(RunError, match=r"'photos' is not what was announced \(another SHA-256\)") as refused:
        fetched(made.model_copy(update={"sha256": "0" * 64}))
    assert refused.value.reason == "data_corrupt"
    assert list(cache.iterdir()) == []


def test_whoever_knows_the_hash_of_anothers_data_gets_none_of_them(tmp_path: Path) -> None:
    theirs = upload(tmp_path, {"cat/1.jpg": b"secret", "dog/1.jpg": b"secret"})
    fetched(theirs)
    (tmp_path / "mine").mkdir()
    mine = upload(tmp_path / "mine", {"cat/1.jpg": b"nothing"}, id="ds_2").model_copy(update={"sha256": theirs.sha256})
    with pytest.raises(RunError, match="another SHA-256"):
        fetched(mine)


def test_one_that_was_deleted_is_told(tmp_path: Path, cache: Path) -> None:
    made = upload(tmp_path, {"cat/1.jpg": b"cat"})
    Path(made.parts[1]).unlink()
    with pytest.raises(RunError, match="was deleted; upload it again"):
        fetched(made)
    assert list(cache.iterdir()) == []


def test_what_leads_out_is_refused_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(RunError, match="leads out of the folder"):
        fetched(upload(tmp_path, {"../../out.jpg": b"x"}))
    assert list(cache.iterdir()) == []


def test_a_folder_that_somebody_removed_is_fetched_again(tmp_path: Path) -> None:
    made = upload(tmp_path, {"cat/1.jpg": b"cat", "dog/1.jpg": b"dog"})
    fetched(made)
    shutil.rmtree(folder_of(made))
    assert (fetched(made) / "cat" / "1.jpg").read_bytes() == b"cat"
