"""The one door to the files that a spec names: only what lies below folders that the operator allows is opened.

`pace train` reads with the rights of whoever runs it, so nothing is refused there. A worker reads for others: it calls
`allow` before its first run. What is bundled with a package does not come through here.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pace_core.spec import RunError
from pace_core.spec.text import shown
from pace_core.urls import Url, is_url, parse

_NO_FILES = ("/proc", "/sys", "/dev")  # what lies there is made up by the system
_SHARED_MEMORY = "/dev/shm"


@dataclass(frozen=True)
class Roots:
    """Folders below which a spec's files may lie, with links resolved; names that begin with a dot are closed."""

    data: tuple[str, ...]
    weights: tuple[str, ...]
    closed: tuple[str, ...] = ()
    """Folders in which only the roots that lie below them are open, such as the one with the stack's own keys."""
    urls: tuple[Url, ...] = ()
    """Addresses below which a spec's data may lie too."""
    closed_urls: tuple[Url, ...] = ()
    """Addresses below which nothing is read, such as the service's own storage."""


_allowed: Roots | None = None
_also: tuple[str, ...] = ()
"""Copies on this machine of what the run's URLs name."""


def roots(data: Iterable[str], weights: Iterable[str], closed: Iterable[str] = ()) -> Roots:
    """Returns the roots at these paths; `~` is the home of this process's user.

    A home that is the whole disk, as that of a container's user may be, is none: nobody chose to open that. Data may
    lie below URLs too. Raises ValueError for a URL that cannot be a root.
    """
    data, closed = list(data), list(closed)
    folders = ([path for path in some if not is_url(path)] for some in (data, weights, closed))
    urls = tuple(parse(path) for path in data if is_url(path))
    return Roots(*(tuple(filter(None, map(_folder, some))) for some in folders), urls, tuple(_readable(closed)))


def _readable(closed: Iterable[str]) -> Iterator[Url]:
    """The URLs among them; those of a kind that no spec can name need not be closed."""
    for path in filter(is_url, closed):
        with suppress(ValueError):
            yield parse(path)


def _folder(path: str) -> str:
    real = os.path.realpath(os.path.expanduser(path))
    return "" if real == "/" and path.startswith("~") else real


def allow(these: Roots | None) -> None:
    """Restricts the files of specs to these folders, from now on and in all threads; None lifts the restriction."""
    global _allowed
    _allowed = these


def open_also(folders: Iterable[str]) -> None:
    """Opens these folders, and no longer those that this was said of before: copies of what the run's URLs name."""
    global _also
    _also = tuple(os.path.realpath(folder) for folder in folders)


def check_url(url: Url, field: str) -> None:
    """Raises RunError `data_missing` for an address below no data root, without asking whether anything is there."""
    if _allowed is None or url.protocol == "file":  # a file goes through data_path
        return
    closed = url.hidden or any(url.below(each) for each in _allowed.closed_urls)
    if not closed and any(url.below(each) for each in _allowed.urls):
        return
    named = ", ".join(each.text for each in _allowed.urls) or "none are named"
    message = f"{shown(url.text, 500)} lies below no address that this worker reads for others ({named})"
    raise RunError("data_missing", f"task.{field}: {message}; have the operator add it to PACE_DATA_ROOTS")


def data_path(path: Path, field: str = "") -> Path:
    """Returns where the file or folder really is, every link followed.

    Raises RunError `data_missing` where that is not below a data root, without saying whether anything is there.
    """
    return _resolved(path, field, "data_missing", "PACE_DATA_ROOTS", (*_allowed.data, *_also) if _allowed else None)


def weights_path(path: Path) -> Path:
    """Returns where a file of weights really is, as `data_path`; raises `weights_missing`."""
    roots = _allowed.weights if _allowed else None
    return _resolved(path, "backbone.weights", "weights_missing", "PACE_WEIGHTS_ROOTS", roots)


def _resolved(path: Path, field: str, reason: str, setting: str, allowed: tuple[str, ...] | None) -> Path:
    where = f"{field}: " if field else ""
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError):  # a NUL in it
        return path  # whoever opens it says what is wrong
    if _below(real, _NO_FILES) and not _below(real, (_SHARED_MEMORY,)):
        raise RunError(reason, f"{where}{path} is a virtual system file, not a file on disk")
    if allowed is not None and not _open(real, allowed):
        message = (
            f"{where}{path} lies outside the folders that this worker reads for others "
            f"({', '.join(allowed) or 'none are named'}), "
            f"or leads out of them; put it there, or have the operator add its folder to {setting}"
        )
        raise RunError(reason, message)
    return Path(real)


def _open(real: str, allowed: tuple[str, ...]) -> bool:
    return any(
        _below(real, (root,))
        and not _closed(real, root)
        and not any(part.startswith(".") for part in Path(real).relative_to(root).parts)
        for root in allowed
    )


def _closed(real: str, root: str) -> bool:
    """Whether a closed folder stands between the root and the file."""
    assert _allowed is not None
    return any(_below(real, (folder,)) and _below(folder, (root,)) for folder in _allowed.closed)


def _below(real: str, folders: tuple[str, ...]) -> bool:
    return any(real == folder or real.startswith(folder.rstrip("/") + "/") for folder in folders)
