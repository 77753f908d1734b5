"""Data that lie at a URL: copied to this machine once for each content, into a bounded cache, and then read as local.

Loads no torch.
"""

import fcntl
import hashlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

import fsspec
import httpx2

from pace_core.downloads import NO_ROOM, content_token, download
from pace_core.roots import check_url, open_also
from pace_core.spec import RunError
from pace_core.spec.text import shown
from pace_core.unpacking import ARCHIVES, MOST_FILES, top, unpack
from pace_core.uploads import cache
from pace_core.urls import Url, is_url, parse

VARIABLE = "PACE_CACHE_BYTES"
_DEFAULT_BYTES = 100 * 10**9
_THREADS = 8
_ABANDONED_S = 86_400.0
_HTTP = ("http", "https")
_TOKENS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "created", "md5Hash", "generation", "size")

T = TypeVar("T")

_held: dict[Path, IO[str]] = {}
"""Copies that this process reads, each with a lock that keeps others from removing it."""
_names: dict[str, str] = {}
"""Copy → its URL, by which messages name it."""
_holding = threading.Lock()


@dataclass(frozen=True)
class _Member:
    name: str
    """Path below the copy."""
    token: str
    """Another one is another content."""
    size: int | None
    copy: Callable[[Path], None]


def release() -> None:
    """Lets go of what the run before has read, before another begins."""
    with _holding:
        for lock in _held.values():
            lock.close()
        _held.clear()
        _names.clear()
        open_also([])


@contextmanager
def named_by_url() -> Iterator[None]:
    """Has errors name the URLs that copies are of."""
    try:
        yield
    except RunError as error:
        message = error.message
        for copy, url in list(_names.items()):
            message = message.replace(copy, url)
        raise RunError(error.reason, message) from None


def located(path: str, field: str, *, folder: bool = False) -> str:
    """Returns the path on this machine of what a spec names: as it is, or of a copy of what lies at its URL.

    A pattern of files (`s3://bucket/x-{00..09}.tar`) becomes one of copies. `folder`: an archive is unpacked. Raises
    RunError for an address that is not allowed or cannot be read, and `disk_full` where it does not fit the cache.
    """
    if not is_url(path):
        return path
    url = _checked(path, field)
    if url.protocol == "file":
        return "/" + "/".join(url.segments)
    packed = url.text.lower().endswith(ARCHIVES)
    if folder and (url.protocol in _HTTP or packed):
        if not packed:
            message = "a folder cannot be listed over HTTP; name a zip or tar file of it, or copy it into a bucket"
            raise RunError("data_missing", f"task.{field}: {shown(path, 500)}: {message}")
        return str(_copied(url, _members(url, field), field, unpacked=True))
    return str(_copied(url, _members(url, field), field))


def files(pattern: str, names: list[str], field: str) -> str:
    """Returns the pattern of copies of the named files beside each other; `pattern` is the URL of them all."""
    url = _checked(pattern, field)
    if url.protocol == "file":
        return "/" + "/".join(url.segments)
    with ThreadPoolExecutor(_THREADS) as pool:
        each = [url._replace(segments=(*url.segments[:-1], name)) for name in names]
        members = list(pool.map(lambda one: _file(one, field), each))
    return str(_copied(url, members, field, name=url.segments[-1]))


def beside(file: str, name: str, field: str) -> Callable[[], bytes]:
    """Returns what reads the file of that name in the folder at a URL; it is copied when it is read."""
    folder = _checked(file, field)

    def read() -> bytes:
        url = _checked(f"{folder.text}/{name}", field)
        return _copied(url, [_file(url, field)], field).read_bytes()

    return read


def _checked(path: str, field: str) -> Url:
    try:
        url = parse(path)
    except ValueError as error:
        raise RunError("data_missing", f"task.{field}: {shown(path, 500)} {error}") from None
    check_url(url, field)
    return url


def _members(url: Url, field: str) -> list[_Member]:
    """The file at the URL, or the files below it."""
    if url.protocol in _HTTP:
        return [_file(url, field)]
    filesystem, path = _filesystem(url, field)

    def listed() -> dict[str, Any]:
        filesystem.invalidate_cache()
        return dict(filesystem.find(path, detail=True))

    found = _said(listed, url, field)
    if set(found) == {path} or (len(found) == 1 and next(iter(found)).strip("/") == path.strip("/")):
        return [_stored(filesystem, url, path, next(iter(found.values())))]
    members: list[_Member] = []
    for name, info in sorted(found.items()):
        inside, below, relative = name.strip("/").partition(f"{path.strip('/')}/")
        if inside or not below or name.endswith("/"):  # what some stores keep for an empty folder
            continue
        each = url._replace(segments=(*url.segments, *relative.split("/")))
        if not each.hidden and not _closed(each, field):
            _refuse_unwritable(each, field)
            members.append(_stored(filesystem, each, name, info, relative))
    if not members:
        raise RunError("data_missing", f"task.{field}: there is nothing at {shown(url.text, 500)}")
    if len(members) > MOST_FILES:
        message = f"{shown(url.text, 500)} has more than {MOST_FILES:,} files; pack them as shards"
        raise RunError("data_missing", f"task.{field}: {message}")
    return members


def _closed(url: Url, field: str) -> bool:
    try:
        check_url(url, field)
    except RunError:
        return True
    return False


def _refuse_unwritable(url: Url, field: str) -> None:
    """Refuses a name that no file here can have, rather than to leave it out."""
    for part in url.segments:
        if part in ("", ".", "..") or "\0" in part or len(part.encode("utf-8", "surrogatepass")) > 255:
            message = f"{shown(url.text, 500)} has a name that no file of this machine can have; rename it"
            raise RunError("data_corrupt", f"task.{field}: {message}")


def _file(url: Url, field: str) -> _Member:
    """The one file at the URL."""
    if url.protocol not in _HTTP:
        filesystem, path = _filesystem(url, field)
        info = _said(lambda: filesystem.info(path), url, field)
        if info.get("type") == "directory":
            raise RunError("data_missing", f"task.{field}: {shown(url.text, 500)} is a folder, not a file")
        return _stored(filesystem, url, path, info)
    may = _hops(field)
    try:
        token, size = content_token(url.text, may)
    except RunError as error:
        raise RunError(error.reason, f"task.{field}: {error.message}") from None

    def copy(to: Path) -> None:
        try:
            download(url.text, to, may=may, most=most_bytes())
        except RunError as error:
            raise RunError(error.reason, f"task.{field}: {error.message}") from None

    return _Member(url.segments[-1] if url.segments else "index", token or uuid.uuid4().hex, size, copy)


def _hops(field: str) -> Callable[[httpx2.URL], None]:
    """Where an address is redirected to must be allowed as it is."""

    def may(hop: httpx2.URL) -> None:
        check_url(parse(str(hop.copy_with(query=None))), field)

    return may


def _stored(filesystem: Any, url: Url, path: str, info: dict[str, Any], name: str = "") -> _Member:
    token = repr([str(info.get(key)) for key in _TOKENS])
    size = info.get("size")
    return _Member(name or url.segments[-1], token, int(size or 0), lambda to: filesystem.get_file(path, str(to)))


def _filesystem(url: Url, field: str) -> tuple[Any, str]:
    def made() -> tuple[Any, str]:
        found = fsspec.filesystem(url.protocol)
        return found, str(found._strip_protocol(url.text))

    return _said(made, url, field)


def _said(do: Callable[[], T], url: Url, field: str) -> T:
    """Does it; whatever the kind of storage raises becomes a sentence."""
    try:
        return do()
    except FileNotFoundError:
        raise RunError("data_missing", f"task.{field}: there is nothing at {shown(url.text, 500)}") from None
    except ImportError:
        extra = "pip install 'pace-finetune[s3]'" if url.protocol == "s3" else "install fsspec's library for it"
        message = f"{url.protocol}:// cannot be read here; {extra} where the data is read"
        raise RunError("data_missing", f"task.{field}: {message}") from None
    except RunError:
        raise
    except Exception as error:  # each kind of storage has its own
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        why = (str(error) or type(error).__name__).splitlines()[0]
        message = f"{shown(url.text, 500)} cannot be read ({shown(why, 300)})"
        raise RunError("data_missing", f"task.{field}: {message}") from None


def most_bytes() -> int:
    """Returns how much the cache may hold."""
    said = os.environ.get(VARIABLE, "")
    return int(said) if said.isdecimal() else _DEFAULT_BYTES


def _copied(url: Url, members: list[_Member], field: str, *, unpacked: bool = False, name: str = "") -> Path:
    """The copy of the members: the file, the folder of them, or the unpacked archive."""
    content = hashlib.sha256(repr((url.text, unpacked, [(each.name, each.token) for each in members])).encode())
    home = cache().with_name(".remote") / content.hexdigest()[:32]
    single = len(members) == 1 and not name and url.segments[-1:] == (members[0].name,)
    if not _hold(home):
        _make(home, url, members, field, unpacked)
    os.utime(home)
    _names[str(home)] = url.text if unpacked or len(members) > 1 else url.text.removesuffix(f"/{members[0].name}")
    if unpacked:
        return top(home)
    return home / members[0].name if single else home / name if name else home


def _make(home: Path, url: Url, members: list[_Member], field: str, unpacked: bool) -> None:
    part = home.with_name(f"{home.name}.{uuid.uuid4().hex[:8]}.part")
    part.mkdir(parents=True, mode=0o700)
    try:
        _make_room(home.parent, sum(each.size or 0 for each in members), url, field)
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda each: _copy(each, part, url, field), members))
        made = part
        if unpacked:
            made = part / "unpacked"
            unpack(part / members[0].name, made, most_bytes())
        with suppress(OSError):  # another process was quicker
            made.rename(home)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        message = f"there is no room in {home.parent} for a copy of {shown(url.text, 500)}; free some space"
        raise RunError("disk_full", f"task.{field}: {message}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _hold(home)


def _copy(member: _Member, part: Path, url: Url, field: str) -> None:
    to = part / PurePosixPath(member.name)
    to.parent.mkdir(parents=True, exist_ok=True)
    _said(lambda: member.copy(to), url, field)


def _hold(home: Path) -> bool:
    """Keeps the copy from being removed while this process reads it, and opens it to the run; whether it is there."""
    with _holding:
        if home in _held:
            return True
        home.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = home.with_suffix(".lock").open("a")
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not home.is_dir():
            lock.close()
            return False
        _held[home] = lock
        open_also([str(each) for each in _held])
        return True


def _make_room(root: Path, needed: int, url: Url, field: str) -> None:
    """Removes the copies that were not read for longest, until `needed` bytes more are within bounds."""
    most = most_bytes()
    if needed > most:
        message = f"{shown(url.text, 500)} has {needed:,} bytes, and copies may take {most:,} ({VARIABLE})"
        raise RunError("disk_full", f"task.{field}: {message}; have the operator allow more, or take a part of it")
    for each in root.glob("*.part"):
        if time.time() - each.stat().st_mtime > _ABANDONED_S:  # of a process that was killed
            shutil.rmtree(each, ignore_errors=True)
    copies = sorted((each for each in root.iterdir() if each.is_dir()), key=lambda each: each.stat().st_mtime)
    used = {each: _bytes(each) for each in copies}
    for each in copies:
        if sum(used.values()) + needed <= most:
            return
        if not each.name.endswith(".part") and _removed(each):
            del used[each]
    if sum(used.values()) + needed > most:
        message = f"copies may take {most:,} bytes ({VARIABLE}), and those that runs read now leave too little"
        raise RunError("disk_full", f"task.{field}: {message} for the {needed:,} of {shown(url.text, 500)}")


def _removed(home: Path) -> bool:
    file = home.with_suffix(".lock")
    with file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        shutil.rmtree(home, ignore_errors=True)
    return not home.exists()


def _bytes(folder: Path) -> int:
    return sum(each.lstat().st_size for each in folder.rglob("*") if each.is_file())
