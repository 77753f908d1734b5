"""Folders of benchmarks on this machine: told once, for every spec that names no path. Loads no torch."""

import json
import os
from pathlib import Path

from pace_core.spec import RunError, load_benchmarks

VARIABLE = "PACE_DATA"


def remembered() -> Path:
    """Returns the file in which this user's machine keeps where data lies."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "pace" / "data.json"


def places() -> dict[str, str]:
    """Returns benchmark → folder, as PACE_DATA (`vtab-1k=/data/vtab:fgvc=/data/fgvc`) or else `data add` says.

    Raises RunError for a variable or file that cannot be read so.
    """
    found: dict[str, str] = {}
    file = remembered()
    if file.exists():
        try:
            said = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(
                "data_missing", f"{file} cannot be read ({error}); remove it and add the data again"
            ) from None
        if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
            raise RunError("data_missing", f"{file} is no object of folders by benchmark; remove it and add them again")
        found |= {_home(name): path for name, path in said.items()}
    for entry in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        benchmark, equals, path = entry.partition("=")
        if not equals or not benchmark or not path:
            raise RunError("data_missing", f"{VARIABLE}: {entry!r} is not BENCHMARK=FOLDER, such as vtab-1k=/data/vtab")
        found[_home(benchmark)] = path
    return found


def remember(benchmark: str, path: Path) -> Path:
    """Keeps where the benchmark's data lies, over what was said before; returns the file."""
    file = remembered()
    kept = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps({**kept, _home(benchmark): str(path)}, indent=2, sort_keys=True) + "\n", "utf-8")
    new.replace(file)
    return file


def _home(benchmark: str) -> str:
    """The benchmark under whose name its data lies."""
    known = load_benchmarks().get(benchmark)
    return known.data if known and known.data else benchmark
