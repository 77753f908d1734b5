"""The client of commands that take an admin."""

from service.client import Client
from service.client.address import find_admin_key


def admin() -> Client:
    """Returns one with the key of the environment, else with the admin's of the stack that runs here."""
    return Client(key=find_admin_key())
