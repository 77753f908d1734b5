"""Addresses of data that specs may name, in one form, so that what lies below another can be told for sure.

Loads no torch.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

PROTOCOLS = ("s3", "gs", "gcs", "az", "abfs", "http", "https", "memory", "file")
"""Those whose addresses say by themselves what is read; chained ones (simplecache::, zip://…::…) do not."""
_PORTS = {"http": "80", "https": "443"}
_AUTHORITY = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_-])?(:[0-9]{1,5})?|\[[0-9a-f:]+\](:[0-9]{1,5})?")


class Url(NamedTuple):
    """A URL, taken apart."""

    protocol: str
    authority: str
    """Host and port, or bucket; empty for files of this machine."""
    segments: tuple[str, ...]

    @property
    def text(self) -> str:
        """The URL in its one form."""
        return f"{self.protocol}://{'/'.join((self.authority, *self.segments))}"

    def below(self, prefix: "Url") -> bool:
        """Tells whether it is the prefix or lies below it, by whole segments of the path."""
        same = (self.protocol, self.authority) == (prefix.protocol, prefix.authority)
        return same and self.segments[: len(prefix.segments)] == prefix.segments

    @property
    def hidden(self) -> bool:
        """Whether a name of the path begins with a dot."""
        return any(segment.startswith(".") for segment in self.segments)


def is_url(text: str) -> bool:
    """Tells whether the text is an address, not a path of this machine."""
    return "://" in text


def parse(text: str) -> Url:
    """Returns the URL. Raises ValueError that says what is wrong with it, and what helps."""
    protocol, found, rest = text.partition("://")
    protocol = protocol.lower()
    if not found or "::" in text.partition("[")[0] or "://" in rest:
        raise ValueError("is no plain URL; chained ones are not read: name the file itself, such as s3://bucket/data")
    if protocol not in PROTOCOLS:
        raise ValueError(f"begins with a protocol that is not read; use one of {', '.join(PROTOCOLS)}")
    if not text.isprintable() or "\\" in text:
        raise ValueError("has characters that no URL has; write them with %, or rename the file")
    if protocol == "file":
        if not rest.startswith("/"):
            raise ValueError("names a host; write file:///folder for a folder of this machine")
        return Url("file", "", _segments(rest[1:], literal=True))
    if "?" in rest or "#" in rest:
        raise ValueError("has a query or fragment, which is kept in specs and may be secret; name the file without")
    authority, _, path = rest.partition("/")
    authority = authority.lower() if protocol in _PORTS else authority
    if "@" in authority:
        raise ValueError("holds a user or password; credentials belong into the environment of whoever reads it")
    if not _AUTHORITY.fullmatch(authority.lower()):
        raise ValueError("has no host or bucket after ://")
    authority = authority.removesuffix(f":{_PORTS.get(protocol)}")
    return Url(protocol, authority, _segments(path, literal=False))


def _segments(path: str, literal: bool) -> tuple[str, ...]:
    segments = tuple(path.rstrip("/").split("/")) if path.strip("/") else ()
    for segment in segments:
        plain = segment if literal else unquote(segment)
        if plain in ("", ".", "..") or "/" in plain or "\\" in plain or "\0" in plain:
            raise ValueError("has an empty segment, '.' or '..' in its path; write where it leads")
    return segments


def split_roots(text: str, separator: str = ":") -> list[str]:
    """Returns the folders and URLs of a list as PATH has it, whose separator URLs have in them too."""
    found: list[str] = []
    for piece in text.split(separator):
        last = found[-1] if found else ""
        begun = separator == ":" and piece.startswith("//") and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+", last)
        in_host = "://" in last and "/" not in last.partition("://")[2]
        port = in_host and (re.match(r"\d{1,5}(/|$)", piece) or "@" in piece.partition("/")[0])
        if begun or port:
            found[-1] = f"{last}{separator}{piece}"
        else:
            found.append(piece)
    return [each for each in found if each]
