"""Lets one other user of the system pass through folders, without opening them to everybody."""

import os
import stat
import struct
from contextlib import suppress
from pathlib import Path

_ACL = "system.posix_acl_access"
_VERSION = 2
_OWNER, _USER, _GROUP, _MASK, _OTHERS = 0x01, 0x02, 0x04, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_PASS = 1


def let_through(path: Path, uid: int) -> None:
    """Grants the user the right to pass through every parent folder, by an access control list.

    A file system that knows none opens the folder for passing, though not for listing, to all.
    """
    for parent in path.parents:
        mode = parent.stat().st_mode
        if mode & stat.S_IXOTH:
            continue
        try:
            _grant(parent, uid, mode)
        except (OSError, AttributeError):  # no such lists here; no such calls on this system
            parent.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _grant(folder: Path, uid: int, mode: int) -> None:
    entries = _entries(folder, mode)
    entries[_USER, uid] = entries.get((_USER, uid), 0) | _PASS
    entries[_MASK, _NO_ID] = entries.get((_MASK, _NO_ID), entries[_GROUP, _NO_ID]) | _PASS
    packed = struct.pack("<I", _VERSION)
    for (tag, owner), permissions in sorted(entries.items()):
        packed += struct.pack("<HHI", tag, permissions, owner)
    os.setxattr(folder, _ACL, packed)


def _entries(folder: Path, mode: int) -> dict[tuple[int, int], int]:
    """(kind, id) → permissions, of the list that the folder has, else of its mode."""
    with suppress(OSError):
        raw = os.getxattr(folder, _ACL)
        return {(tag, owner): permissions for tag, permissions, owner in struct.iter_unpack("<HHI", raw[4:])}
    bits = stat.S_IMODE(mode)
    return {(_OWNER, _NO_ID): bits >> 6 & 7, (_GROUP, _NO_ID): bits >> 3 & 7, (_OTHERS, _NO_ID): bits & 7}
