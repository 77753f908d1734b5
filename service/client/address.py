"""Where the service is and who asks: from the environment, else from the stack that runs here."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from service.local.record import Folder


@dataclass(frozen=True)
class Address:
    """A service's URL and the key to use there."""

    url: str
    key: str
    mlflow_url: str | None = None
    expected: bool = False
    """A stack runs here that starts its API again when it ends: waiting for it is worth while."""


class NoService(RuntimeError):
    """No service is known here, or none answers; the message says what to do."""


def state_folder() -> Path:
    """Returns the folder in which `pace up` keeps everything: PACE_STATE_DIR, else `.state` here."""
    return Path(os.environ.get("PACE_STATE_DIR") or ".state").absolute()


def find_address(url: str | None = None, key: str | None = None) -> Address:
    """Returns what was given, else PACE_URL and PACE_API_KEY, else the `client.json` of the stack that runs here.

    Raises NoService where none of these names a URL and a key.
    """
    folder = Folder(state_folder())
    stored = folder.read_client()
    url = url or os.environ.get("PACE_URL") or stored.get("url")
    key = key or os.environ.get("PACE_API_KEY") or stored.get("key")
    if not url:
        raise NoService("no service runs here; start one with `pace up`, or set PACE_URL and PACE_API_KEY")
    if not key:
        raise NoService(f"no API key for {url}; set PACE_API_KEY")
    here = url == stored.get("url")
    mlflow_url = stored.get("mlflow_url") if here else None
    return Address(url=url.rstrip("/"), key=key, mlflow_url=mlflow_url, expected=here and folder.running())


def find_admin_key() -> str | None:
    """Returns PACE_API_KEY, else the admin's key of the stack of this state folder; None where there is neither."""
    return os.environ.get("PACE_API_KEY") or Folder(state_folder()).read_keys().get("admin")


def is_loopback(url: str) -> bool:
    """Tells whether the URL is of this machine, so that no proxy of the environment can know it."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
