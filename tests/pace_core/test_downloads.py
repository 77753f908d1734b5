"""Downloads over HTTP: they go on where they were cut off, and what came is what was meant."""

import hashlib
import socketserver
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pace_core.downloads import content_token, download
from pace_core.spec import RunError
from tests.http_files import Served, http_files
from tests.small_disk import fill, small_disk

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def served() -> Generator[Served]:
    with http_files() as found:
        yield found


def test_a_cut_connection_goes_on_where_it_ended(served: Served, tmp_path: Path) -> None:
    url = served.put("images.tar", CONTENT)
    served.cuts["/images.tar"] = [1000, 2000]
    assert download(url, tmp_path / "images.tar", checksum=("sha256", SHA256), pause_s=0) == SHA256
    assert (tmp_path / "images.tar").read_bytes() == CONTENT
    assert [span for _, span in served.asked] == ["", "bytes=1000-", "bytes=3000-"]
    assert [each.name for each in tmp_path.iterdir()] == ["images.tar"]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(served: Served, tmp_path: Path) -> None:
    url = served.put("images.tar", CONTENT)
    served.cuts["/images.tar"] = [1000, 0, 0, 0, 0, 0]
    with pytest.raises(RunError, match=r"cannot be fetched .* 1,000 bytes are kept, and the same command goes on"):
        download(url, tmp_path / "images.tar", pause_s=0)
    served.asked.clear()
    served.cuts.clear()
    assert download(url, tmp_path / "images.tar") == SHA256
    assert served.asked == [("/images.tar", "bytes=1000-")]


def test_other_content_under_the_address_begins_anew(served: Served, tmp_path: Path) -> None:
    url = served.put("images.tar", b"old" * 1000)
    served.cuts["/images.tar"] = [1000, 0, 0, 0, 0, 0]
    with pytest.raises(RunError):
        download(url, tmp_path / "images.tar", pause_s=0)
    served.put("images.tar", CONTENT)
    assert download(url, tmp_path / "images.tar") == SHA256


def test_a_server_that_gives_no_parts_is_asked_for_all_of_it_again(served: Served, tmp_path: Path) -> None:
    url = served.put("images.tar", CONTENT)
    served.ranges = False
    served.cuts["/images.tar"] = [1000]
    assert download(url, tmp_path / "images.tar", pause_s=0) == SHA256


def test_without_a_mark_of_the_content_only_a_checksum_allows_going_on(served: Served, tmp_path: Path) -> None:
    url = served.put("images.tar", CONTENT)
    served.tags["/images.tar"] = 'W/"weak"'
    served.cuts["/images.tar"] = [1000]
    assert download(url, tmp_path / "images.tar", pause_s=0) == SHA256
    assert [span for _, span in served.asked] == ["", ""]


def test_what_was_whole_before_the_end_is_not_fetched_again(served: Served, tmp_path: Path) -> None:
    url = served.put("images.tar", CONTENT)
    (tmp_path / "images.tar.part").write_bytes(CONTENT)
    assert download(url, tmp_path / "images.tar", checksum=("sha256", SHA256)) == SHA256


def test_more_than_the_server_has_is_thrown_away(served: Served, tmp_path: Path) -> None:
    url = served.put("images.tar", CONTENT)
    (tmp_path / "images.tar.part").write_bytes(CONTENT + b"more")
    assert download(url, tmp_path / "images.tar", checksum=("sha256", SHA256), pause_s=0) == SHA256


@pytest.mark.parametrize(("algorithm", "of"), [("sha256", hashlib.sha256), ("md5", hashlib.md5)])
def test_another_checksum_is_told_and_nothing_is_kept(algorithm: str, of: Any, served: Served, tmp_path: Path) -> None:
    url = served.put("images.tar", CONTENT)
    with pytest.raises(RunError, match=f"has another {algorithm.upper()} than expected .* replaced where it comes"):
        download(url, tmp_path / "images.tar", checksum=(algorithm, of(b"other").hexdigest()))
    assert list(tmp_path.iterdir()) == []
    assert download(url, tmp_path / "images.tar", checksum=(algorithm, of(CONTENT).hexdigest())) == SHA256


def test_another_size_is_told_before_anything_is_sent(served: Served, tmp_path: Path) -> None:
    url = served.put("images.tar", CONTENT)
    with pytest.raises(RunError, match="the server has 10,240 bytes, and 5 were expected"):
        download(url, tmp_path / "images.tar", size=5)


def test_a_file_that_is_not_there_says_so(served: Served, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"the server answers 404 .* may have moved"):
        download(f"{served.url}/gone", tmp_path / "x")


@contextmanager
def saying(answer: bytes) -> Generator[str]:
    """A server that answers everything with these bytes."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/x"
        server.shutdown()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 206 Partial\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 416 Range\r\nContent-Range: bytes */0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\nabc",
    ],
)
def test_a_server_that_talks_nonsense_ends_in_a_sentence(answer: bytes, tmp_path: Path) -> None:
    with saying(answer) as url:
        with pytest.raises(RunError, match=r"^http://127|bytes free"):
            download(url, tmp_path / "x", pause_s=0)
        if b"200 OK" not in answer:
            with pytest.raises(RunError, match=r"^http://127"):
                content_token(url)
    assert not (tmp_path / "x").exists()


def test_no_more_comes_than_may(served: Served, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is larger than the 100 bytes allowed"):
        download(served.put("x", CONTENT), tmp_path / "x", most=100)


def test_redirects_are_followed_but_not_to_other_protocols(served: Served, tmp_path: Path) -> None:
    served.put("there", CONTENT)
    served.redirects |= {"/here": "/there", "/file": "file:///etc/passwd", "/round": "/round"}
    assert download(f"{served.url}/here", tmp_path / "x") == SHA256
    for path, why in (("/file", "cannot be fetched"), ("/round", "cannot be fetched")):
        with pytest.raises(RunError, match=why):
            download(served.url + path, tmp_path / "y", pause_s=0)
    assert not (tmp_path / "y").exists()


def test_a_server_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with http_files() as served:
        url = served.put("x", b"")
    with pytest.raises(RunError, match="cannot be fetched"):
        download(url, tmp_path / "x")


def test_a_full_disk_is_told_and_loses_nothing(served: Served, tmp_path: Path) -> None:
    content = CONTENT * 40
    url = served.put("images.tar", content)
    with small_disk(tmp_path / "disk", 512) as disk:
        filler = fill(disk, leaving=100_000)
        with pytest.raises(RunError, match="bytes free, and 409,600 more are to come") as refused:
            download(url, disk / "images.tar")
        assert refused.value.reason == "disk_full"
        filler.unlink()
        assert download(url, disk / "images.tar") == hashlib.sha256(content).hexdigest()
