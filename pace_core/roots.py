"""The one door to the files that a spec names: only what lies below folders that the operator allows is opened.

`pace train` reads with the rights of whoever runs it, so nothing is refused there. A worker reads for others: it calls
`allow` before its first run. What is bundled with a package does not come through here.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pace_core.spec import RunError

_NO_FILES = ("/proc", "/sys", "/dev")  # what lies there is made up by the system
_SHARED_MEMORY = "/dev/shm"


@dataclass(frozen=True)
class Roots:
    """Folders below which a spec's files may lie, with links resolved; names that begin with a dot are closed."""

    data: tuple[str, ...]
    weights: tuple[str, ...]
    closed: tuple[str, ...] = ()
    """Folders in which only the roots that lie below them are open, such as the one with the stack's own keys."""


_allowed: Roots | None = None


def roots(data: Iterable[str], weights: Iterable[str], closed: Iterable[str] = ()) -> Roots:
    """Returns the roots at these paths; `~` is the home of this process's user.

    A home that is the whole disk, as that of a container's user may be, is none: nobody chose to open that.
    """
    return Roots(*(tuple(filter(None, map(_folder, some))) for some in (data, weights, closed)))


def _folder(path: str) -> str:
    real = os.path.realpath(os.path.expanduser(path))
    return "" if real == "/" and path.startswith("~") else real


def allow(these: Roots | None) -> None:
    """Restricts the files of specs to these folders, from now on and in all threads; None lifts the restriction."""
    global _allowed
    _allowed = these


def data_path(path: Path, field: str = "") -> Path:
    """Returns where the file or folder really is, every link followed.

    Raises RunError `data_missing` where that is not below a data root, without saying whether anything is there.
    """
    return _resolved(path, field, "data_missing", "PACE_DATA_ROOTS", _allowed.data if _allowed else None)


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
