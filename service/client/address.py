"""Address of the service and key of who asks: from the environment, else from the stack that runs here."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from service.local.known import connection_file, running_stacks
from service.local.record import Folder, read_client


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
    return Path(os.environ.get("PACE_STATE_DIR") or ".state").expanduser().absolute()


def find_stack() -> Folder:
    """Returns the stack that a command means: PACE_STATE_DIR's, else that of `.state` here, else the only one running.

    Where none runs, the one that would be started here. Raises NoService where several run and none of them here.
    """
    here = Folder(state_folder())
    if os.environ.get("PACE_STATE_DIR") or here.running():
        return here
    running = running_stacks()
    if len(running) > 1:
        named = ", ".join(f"PACE_STATE_DIR={folder.path}" for folder in running)
        raise NoService(f"{len(running)} stacks run on this machine; name one of them: {named}")
    return running[0] if running else here


def find_address(url: str | None = None, key: str | None = None) -> Address:
    """Returns what was given, else PACE_URL and PACE_API_KEY, else this machine's stack, else what `pace connect` kept.

    A stored key goes to the service that it belongs to and to no other. Raises NoService where none of these names a
    URL and a key.
    """
    url, key = url or os.environ.get("PACE_URL"), key or os.environ.get("PACE_API_KEY")
    if url and key:
        folder = Folder(state_folder())
        stored = folder.read_client()
    else:
        folder = find_stack()
        stored = folder.read_client()
        if not folder.running():
            stored = read_client(connection_file()) or stored
    url = (url or stored.get("url") or "").rstrip("/")
    here = url == stored.get("url", "").rstrip("/")
    key = key or (stored.get("key") if here else None)
    if not url:
        raise NoService(
            "no service is known here; start one with `pace up`, use another machine's with `pace connect FILE`, "
            "or set PACE_URL and PACE_API_KEY"
        )
    if not key:
        raise NoService(f"no API key for {url}; set PACE_API_KEY")
    _check(url, key := key.strip())
    return Address(
        url=url,
        key=key,
        mlflow_url=stored.get("mlflow_url") if here else None,
        expected=here and url == folder.read_client().get("url") and folder.running(),
    )


def _check(url: str, key: str) -> None:
    """Raises NoService for what no service can have: an address that is none, a key with letters that no key has."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound:
        raise NoService(f"{url} is not the address of a service; write it as http://127.0.0.1:8321")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise NoService(f"the API key for {url} is damaged: keys are letters, digits and _ in one word")


def find_admin_key() -> str | None:
    """Returns PACE_API_KEY, else the admin's key of the stack that runs here; None where there is neither.

    The stack's own key is for the stack alone: None where PACE_URL names another service.
    """
    given = os.environ.get("PACE_API_KEY")
    if given:
        return given
    folder = find_stack()
    named = os.environ.get("PACE_URL")
    return folder.read_keys().get("admin") if not named or named == folder.read_client().get("url") else None


def reached(link: str | None, url: str) -> str | None:
    """Returns a link into the service's machine with the host by which the service itself is reached from here."""
    if link is None or not is_loopback(link) or is_loopback(url):
        return link
    parts, host = urlsplit(link), urlsplit(url).hostname or ""
    host = f"[{host}]" if ":" in host else host
    return urlunsplit(parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host))


def how_to_open(link: str, url: str) -> str:
    """Returns the link, and what one must know where it leads into the machine of a service that is another's."""
    if not is_loopback(link) or is_loopback(url):
        return link
    return f"{link} (open it on the service's machine, or through a tunnel)"


def is_loopback(url: str) -> bool:
    """Tells whether the URL is of this machine, so that no proxy of the environment can know it."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
