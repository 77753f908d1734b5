"""Entries of the navigation: each page module declares its own as `nav`."""

from typing import NamedTuple


class Nav(NamedTuple):
    """An entry of the navigation."""

    title: str
    path: str
    place: int
    """Lower ones come first."""
    admin: bool = False
    """Whether only admins see it."""
