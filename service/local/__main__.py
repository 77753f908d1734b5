"""`python -m service.local`: the process behind `pace up --detach`."""

import sys
from datetime import UTC, datetime

from service.client.address import state_folder
from service.local.record import Folder
from service.local.stack import StackError, serve


def _say(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    try:
        serve(Folder(state_folder()), _say)
    except StackError as error:
        sys.exit(str(error))
