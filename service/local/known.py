"""Contents of a user's own folder: the stacks that run for them, and the service that they use without one."""

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path

from service.local.record import Folder, write_private


def user_folder() -> Path:
    """Returns where programs keep a user's state: XDG_STATE_HOME, else the platform's place in the home folder."""
    if given := os.environ.get("XDG_STATE_HOME"):
        return Path(given) / "pace"
    home = Path.home()
    return home / ("Library/Application Support/pace" if sys.platform == "darwin" else ".local/state/pace")


def connection_file() -> Path:
    """Returns where `client.json` of a service on another machine, is kept by `pace connect`."""
    return user_folder() / "client.json"


def remember(folder: Folder) -> None:
    """Lets `pace` find the stack of that folder from anywhere; a home that cannot be written is passed over."""
    file = _file(folder)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_private(file, f"{folder.path}\n")


def known_stacks() -> list[Folder]:
    """Returns the folders of the stacks that this user has started, in a fixed order; those deleted are forgotten."""
    found: list[Folder] = []
    with suppress(OSError):
        for file in sorted((user_folder() / "stacks").iterdir()):
            with suppress(OSError, ValueError):
                folder = Folder(Path(file.read_text("utf-8").strip()))
                if folder.path.exists():
                    found.append(folder)
                else:
                    file.unlink()
    return found


def running_stacks() -> list[Folder]:
    """Returns the folders of those that run."""
    return [folder for folder in known_stacks() if folder.running()]


def _file(folder: Folder) -> Path:
    return user_folder() / "stacks" / hashlib.sha256(str(folder.path).encode()).hexdigest()[:16]
