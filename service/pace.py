"""Entry of the command `pace`: two of its commands become the core's at once, before anything else is loaded."""

import importlib
import importlib.util
import os
import sys

_CORE = ("predict", "train")


def main() -> None:
    """Runs the command line."""
    if sys.argv[1:2] and sys.argv[1] in _CORE and all(map(importlib.util.find_spec, ("torch", "timm"))):
        os.execv(sys.executable, [sys.executable, "-m", "pace_core", *sys.argv[1:]])
    try:
        importlib.import_module("service.client.cli").main()
    except KeyboardInterrupt:  # while the commands are loaded; what they do then is theirs to say
        sys.stderr.write("\nstopped by Ctrl-C\n")
        sys.exit(130)
