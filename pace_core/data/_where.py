"""The folder of a benchmark's data: what the spec names, or where this machine was told that it lies."""

from pathlib import Path

from pace_core.data._listing import folder
from pace_core.places import VARIABLE, places, remembered
from pace_core.spec import RunError


def home_of(path: str | None, benchmark: str) -> Path:
    """Returns the folder that a spec names, or where this machine has the benchmark. Raises RunError with the cure."""
    if path is not None:
        return folder(path, "path")
    known = places()
    if benchmark not in known:
        message = (
            f"task.path: this machine has not been told where {benchmark} lies; give the path, or say it once for all: "
            f"`python -m pace_core data add {benchmark} FOLDER`, or {VARIABLE}={benchmark}=FOLDER"
        )
        raise RunError("data_missing", message)
    try:
        return folder(known[benchmark], "path")
    except RunError as error:
        message = f"{error.message} (told by {VARIABLE} or {remembered()}, since the spec gives no path)"
        raise RunError(error.reason, message) from None
