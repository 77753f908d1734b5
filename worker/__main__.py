"""`python -m worker [dispatch | study | track [--rebuild]]`; without a word the first two, each in its own process.

Tracking is started by itself: it needs another key (of role tracking) and MLflow, and one is enough for all clusters.
"""

import argparse
import importlib
import logging
import signal
import subprocess
import sys
import time

from stamina.instrumentation import set_on_retry_hooks


def main() -> int:
    """Runs until SIGTERM or Ctrl-C. What runs in the slots goes on, and is adopted at the next start."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    verbs = parser.add_subparsers(dest="verb")
    verbs.add_parser("dispatch", help="lease jobs to this Ray cluster's slots")
    verbs.add_parser("study", help="drive studies on this Ray cluster")
    track = verbs.add_parser("track", help="fill MLflow from the service's events")
    track.add_argument("--rebuild", action="store_true", help="fill it again from the first event on, then end")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    set_on_retry_hooks(())  # the client's retries; what outlasts them is logged here
    # neither process loads what only the other needs: Ray here, MLflow there
    if given.verb == "dispatch":
        return importlib.import_module("worker.dispatcher").main()
    if given.verb == "study":
        return importlib.import_module("worker.studies").main()
    if given.verb == "track":
        return importlib.import_module("worker.tracking").main(rebuild=given.rebuild)
    return _both()


def _both() -> int:
    parts = [subprocess.Popen([sys.executable, "-m", "worker", verb]) for verb in ("dispatch", "study")]

    def end(*_: object) -> None:
        for part in parts:
            part.terminate()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    while all(part.poll() is None for part in parts):
        time.sleep(0.2)
    end()
    return max(abs(part.wait()) for part in parts)


if __name__ == "__main__":
    sys.exit(main())
