"""`python -m service.local`: the process behind `pace up --detach`."""

import sys
from datetime import UTC, datetime

from service.client.address import state_folder
from service.local.readiness import StackError
from service.local.record import Folder
from service.local.serving import serve


def _log(line: str) -> None:
    sys.stdout.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        serve(Folder(state_folder()), _log)
    except StackError as error:
        sys.exit(str(error))
