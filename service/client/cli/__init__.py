"""The command line `pace`."""

from service.client.cli.app import main

__all__ = ["main"]
