"""Downloads over HTTP that go on where they were cut off, and are held to a checksum. Loads no torch."""

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx2

from pace_core.spec import RunError
from pace_core.spec.text import shown

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_TRIES = 5
"""Attempts in a row that bring nothing; each that brings something begins the count anew."""
_TIMEOUT = httpx2.Timeout(60.0, connect=20.0)

Told = Callable[[int, int | None], None]
"""Told of the bytes that are there, and of all where the server says how many."""
May = Callable[[httpx2.URL], None]


@dataclass(frozen=True)
class _Wanted:
    checked: bool
    """Whether a checksum decides in the end."""
    size: int | None
    most: int | None
    told: Told | None


class _Cut(Exception):
    """The connection ended before the file did."""


def download(
    url: str,
    file: Path,
    *,
    checksum: tuple[str, str] | None = None,
    size: int | None = None,
    most: int | None = None,
    told: Told | None = None,
    may: May | None = None,
    pause_s: float = 1.0,
) -> str:
    """Downloads to `file`, whole or not at all; returns its SHA-256.

    What has come so far stays beside it, as `file.part`, and the next call goes on there if the server still has the
    same content. `checksum`: algorithm and hex digest. `size`: of the file, in bytes, where it is known. `most`: bytes
    that may come. `may` raises for an address, the first or one redirected to, that must not be asked. Raises RunError
    `data_missing` where the server does not give it, `data_corrupt` for other content than expected, `disk_full`.
    """
    part, said = Path(f"{file}.part"), Path(f"{file}.from")
    wanted, fruitless = _Wanted(checksum is not None, size, most, told), 0
    with _client(url, may) as client:
        while True:
            before = _size(part)
            try:
                _go_on(client, url, part, said, wanted)
                break
            except (httpx2.TransportError, _Cut) as error:
                fruitless = 0 if _size(part) > before else fruitless + 1
                if fruitless >= _TRIES or isinstance(error, httpx2.UnsupportedProtocol | httpx2.ConnectError):
                    raise _unreachable(url, error, _size(part)) from None
                time.sleep(pause_s)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:  # too many redirects, or to nowhere
                raise _unreachable(url, error, _size(part)) from None
            except OSError as error:
                if error.errno in NO_ROOM:
                    raise _no_room(file, _size(part)) from None
                raise
    algorithm, expected = checksum or ("sha256", None)
    found = _digest(part, algorithm)
    if expected is not None and found != expected:
        part.unlink()
        said.unlink(missing_ok=True)
        message = (
            f"{shown(url, 500)}: has another {algorithm.upper()} than expected ({found}, not {expected}); thrown "
            "away. Try again later; if that does not help, the file has been replaced where it comes from"
        )
        raise RunError("data_corrupt", message)
    sha256 = found if algorithm == "sha256" else _digest(part, "sha256")
    part.replace(file)
    said.unlink(missing_ok=True)
    return sha256


def content_token(url: str, may: May | None = None) -> tuple[str, int | None]:
    """Returns what tells the content at the address from another (empty where the server gives nothing), and its bytes.

    Raises RunError where the server does not give it.
    """
    try:
        with _client(url, may) as client, client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
            _refuse_no_answer(answer, url)
            length = _total(answer, 0)
            mark = answer.headers.get("ETag", "") or answer.headers.get("Last-Modified", "")
            return (f"{mark} {length}" if mark else ""), length
    except (httpx2.HTTPError, httpx2.InvalidURL, _Cut) as error:
        raise _unreachable(url, error, 0) from None


def _client(url: str, may: May | None) -> httpx2.Client:
    return httpx2.Client(follow_redirects=True, timeout=_TIMEOUT, event_hooks={"request": [_only_http(url, may)]})


def _refuse_no_answer(answer: httpx2.Response, url: str) -> None:
    if answer.status_code not in (200, 206):
        why = f"the server answers {answer.status_code} {answer.reason_phrase}"
        raise RunError("data_missing", f"{shown(url, 500)}: {shown(why, 200)}{_cure(answer.status_code)}")


def _go_on(client: httpx2.Client, url: str, part: Path, said: Path, wanted: _Wanted) -> None:
    """Asks for what is missing, and appends it. Raises _Cut where the connection ends too early."""
    there = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if there:
        validator = _validator(said, url)
        if validator or wanted.checked:
            headers |= {"Range": f"bytes={there}-"} | ({"If-Range": validator} if validator else {})
    with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code == 416 and there:  # what is there is all of it, or more than it
            if answer.headers.get("Content-Range", "") == f"bytes */{there}":
                return
            part.unlink()
            raise _Cut("the server has less than what was here; beginning anew")
        _refuse_no_answer(answer, url)
        begins = there if answer.status_code == 206 else 0
        total = _total(answer, begins)
        if wanted.size is not None and total is not None and total != wanted.size:
            message = f"{shown(url, 500)}: the server has {total:,} bytes, and {wanted.size:,} were expected"
            raise RunError("data_corrupt", f"{message}; the file has been replaced where it comes from")
        _check_room(part, (total or wanted.size or 0) - begins)
        said.write_text(json.dumps({"url": url, "validator": _strong(answer)}), "utf-8")
        with part.open("r+b" if begins else "wb") as out:
            out.seek(begins)
            out.truncate()
            _receive(answer, out, begins, total or wanted.size, wanted)


def _receive(answer: httpx2.Response, out: IO[bytes], begins: int, total: int | None, wanted: _Wanted) -> None:
    there = begins
    for piece in answer.iter_raw():  # chunks of a size would be lost in part where the connection ends
        there += len(piece)
        if total is not None and there > total:
            raise RunError("data_corrupt", f"{shown(str(answer.url), 500)}: more than the {total:,} bytes came")
        if wanted.most is not None and there > wanted.most:
            raise RunError(
                "disk_full", f"{shown(str(answer.url), 500)}: is larger than the {wanted.most:,} bytes allowed"
            )
        out.write(piece)
        if wanted.told:
            wanted.told(there, total)
    out.flush()
    if total is not None and there < total:
        raise _Cut(f"{there:,} of {total:,} bytes came")


def _total(answer: httpx2.Response, begins: int) -> int | None:
    """Bytes of the whole file, where the server says. Raises _Cut where it sends another part than was asked for."""
    if answer.status_code == 206:
        span = answer.headers.get("Content-Range", "")
        if not span.startswith(f"bytes {begins}-"):
            raise _Cut(f"the server sends {shown(span, 100)}, not from {begins:,} on")
        whole = span.rpartition("/")[2]
        return int(whole) if whole.isdecimal() else None
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _strong(answer: httpx2.Response) -> str:
    """What tells this content from a later one: a strong ETag or the time of its change; empty where neither is."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _validator(said: Path, url: str) -> str:
    try:
        kept = json.loads(said.read_text("utf-8"))
        return str(kept["validator"]) if kept["url"] == url else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _only_http(url: str, may: May | None) -> Callable[[httpx2.Request], None]:
    """Refuses an address that is none, and one redirected from https to plain http, where anybody on the way writes."""

    def check(request: httpx2.Request) -> None:
        if request.url.scheme not in ("http", "https"):
            raise httpx2.UnsupportedProtocol(f"{request.url.scheme!r} is neither http nor https", request=request)
        if urlsplit(url).scheme == "https" and request.url.scheme == "http":
            raise httpx2.UnsupportedProtocol("it is redirected to plain http", request=request)
        if may:
            may(request.url)

    return check


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        message = f"{part.parent} has {free:,} bytes free, and {needed:,} more are to come; free some space"
        raise RunError("disk_full", f"{message}, and the same command goes on")


def _cure(status: int) -> str:
    if status in (401, 403):
        return "; it asks for a login or terms that have to be accepted first"
    return "; it may have moved" if status in (404, 410) else "; try again later"


def _unreachable(url: str, error: Exception, there: int) -> RunError:
    why = shown(str(error) or type(error).__name__, 300)
    kept = f"; {there:,} bytes are kept, and the same command goes on there" if there else ""
    return RunError("data_missing", f"{shown(url, 500)}: cannot be fetched ({why}){kept}")


def _no_room(file: Path, there: int) -> RunError:
    message = f"there is no room for {file}; free some space: {there:,} bytes are kept, and the same command goes on"
    return RunError("disk_full", message)


def _size(file: Path) -> int:
    with suppress(OSError):
        return os.stat(file).st_size
    return 0


def _digest(file: Path, algorithm: str) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, algorithm).hexdigest()
