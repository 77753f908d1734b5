"""`python -m service.local up|down`: what `pace up` and `pace down` run."""

import argparse
import importlib
import os
import sys
from datetime import UTC, datetime
from types import ModuleType

from service.client.address import state_folder
from service.local import readiness, stack
from service.local.record import Folder, Record


def main() -> None:
    """Reads the command line; the environment names the state folder and parts that run elsewhere."""
    parser = argparse.ArgumentParser(prog="python -m service.local", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="start the stack; Ctrl-C stops it")
    up.add_argument("--detach", action="store_true", help="return when the API answers")
    up.add_argument("--wait-ready", action="store_true", help="with --detach: return when every part is ready")
    verbs.add_parser("down", help="stop the stack")
    verbs.add_parser("serve", help="the process behind `up --detach`")
    given = parser.parse_args()
    folder = Folder(state_folder())
    try:
        if given.verb == "serve":
            _serving().serve(folder, _log)
        elif given.verb == "down":
            _print("stopped" if stack.stop(folder) else f"no stack runs on {folder.path}")
        elif given.detach:
            _detached(folder, given.wait_ready)
        else:

            def answering(record: Record) -> None:
                _print(_addresses(folder, record, "Ctrl-C"))

            _serving().serve(folder, _print, answering)
    except (stack.StackError, readiness.NotReady) as error:
        sys.exit(str(error))


def _serving() -> ModuleType:
    return importlib.import_module("service.local.serving")  # brings the database; the other verbs answer sooner


def _detached(folder: Folder, wait_ready: bool) -> None:
    """Wanting what is there already is no error."""
    record = folder.read() if folder.running() else None
    if record:
        _print("the stack runs already")
    else:
        record = stack.start_detached(folder)
    if wait_ready:
        readiness.wait_ready(record.url, record.started_at, _print)
    _print(_addresses(folder, record, "pace down"))


def _addresses(folder: Folder, record: Record, stop: str) -> str:
    stop = stop if "PACE_STATE_DIR" not in os.environ or stop == "Ctrl-C" else f"PACE_STATE_DIR={folder.path} {stop}"
    lines = [
        f"The service answers at {record.url}",
        f"  API docs  {record.url}/docs",
        f"  MLflow    {record.mlflow_url} (the first start takes up to a minute)",
        f"  key       in {folder.client}; `pace` and the Python client find it there",
        f"  logs      {folder.logs}",
        f"  stop      {stop}",
    ]
    return "\n".join(lines)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _log(line: str) -> None:
    _print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}")


if __name__ == "__main__":
    main()
