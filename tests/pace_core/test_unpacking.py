"""Archives of strangers are unpacked without harm, or refused with the member that is wrong."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from pace_core.spec import RunError
from pace_core.unpacking import unpack


def zipped(file: Path, members: dict[str, bytes], **how: int) -> Path:
    with zipfile.ZipFile(file, "w", **how) as out:
        for name, content in members.items():
            out.writestr(zipfile.ZipInfo(name), content, how.get("compression"))
    return file


def tarred(file: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(file, mode) as out:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o4777
            out.addfile(info, io.BytesIO(content))
    return file


PLAIN = {"photos/cat/1.jpg": b"cat", "photos/dog/1.jpg": b"dog"}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_folder_comes_out_as_it_went_in_and_nothing_may_be_executed(kind: str, tmp_path: Path) -> None:
    mode = "w:gz" if kind.endswith("gz") else "w"
    archive = zipped(tmp_path / "a", PLAIN) if kind == "zip" else tarred(tmp_path / "a", PLAIN, mode)
    unpack(archive, tmp_path / "out")
    found = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == PLAIN
    assert not any(p.stat().st_mode & 0o6111 for p in (tmp_path / "out").rglob("*") if p.is_file())


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize(
    "name", ["../out.txt", "/tmp/x", "a/../../x", "..\\x", "C:\\x", "x" * 300, "a/" * 40 + "x", ".."]
)
def test_a_name_that_leads_out_is_refused_and_nothing_is_written_there(make: object, name: str, tmp_path: Path) -> None:
    archive = make(tmp_path / "a", {name: b"x"})  # type: ignore[operator]
    with pytest.raises(RunError, match=r"leads out of the folder|too deep a name") as refused:
        unpack(archive, tmp_path / "deep" / "out")
    assert refused.value.reason == "data_corrupt"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w") as out:
        info = tarfile.TarInfo("cat/link.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        out.addfile(info)
    with pytest.raises(RunError, match=r"cat/link\.jpg: is a link, device or sparse file; pack plain files only"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as out:
        info = zipfile.ZipInfo("cat/link.jpg")
        info.external_attr = 0o120777 << 16
        out.writestr(info, "/etc/passwd")
    with pytest.raises(RunError, match=r"cat/link\.jpg: is a link or device"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_bomb_is_stopped_while_it_unpacks(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "a", {"cat/1.jpg": bytes(200 * 2**20)}, compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 2**20
    with pytest.raises(RunError, match=r"cat/1\.jpg: the archive unpacks to more than 104,857,600 bytes"):
        unpack(bomb, tmp_path / "out")
    with pytest.raises(RunError, match="more than 5 bytes"):
        unpack(zipped(tmp_path / "b", PLAIN), tmp_path / "small", most_bytes=5)


@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_name_twice_and_a_file_that_is_a_folder_too_are_refused(make: object, tmp_path: Path) -> None:
    for number, members in enumerate(({"a/1": b"x", "a/./1": b"y"}, {"a": b"x", "a/1": b"y"})):
        archive = make(tmp_path / f"{number}", members)  # type: ignore[operator]
        with pytest.raises(RunError, match="another file of the archive has this name"):
            unpack(archive, tmp_path / f"out{number}")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"no archive", os.urandom(2000)])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(RunError, match=r"neither a zip nor a tar|cannot be read"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    whole = tarred(tmp_path / "a", {"cat/1.jpg": os.urandom(100_000)}, "w:gz").read_bytes()
    (tmp_path / "a").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="the archive cannot be read"):
        unpack(tmp_path / "a", tmp_path / "out")
