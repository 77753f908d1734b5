"""Files that hold many images, found below a path and told apart by split: tar shards and parquet files."""

import re
from pathlib import Path

from pace_core.data._rows import split_of
from pace_core.data._splits import Phase
from pace_core.remote import files, located
from pace_core.roots import data_path
from pace_core.spec import RunError
from pace_core.urls import is_url

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST = 100_000


def here(path: str, field: str) -> str:
    """Returns the path, or where copies of the files at a URL lie, of a pattern's too."""
    match = _RANGE.search(path.rpartition("/")[2]) if is_url(path) else None
    return files(path, _names(path.rpartition("/")[2], match, field), field) if match else located(path, field)


def shards(path: str, ending: str, field: str) -> list[Path]:
    """Returns the files of that ending that a path names: one, a pattern's (`x-{0000..0099}.tar`), or a folder's.

    Raises RunError that names the field where there is none.
    """
    given = Path(path).expanduser()
    found = [] if "\0" in path else _named(given, ending, field)
    for file in found:
        real = data_path(file, f"task.{field}")
        if not real.is_file():
            raise RunError("data_missing", f"task.{field}: there is no file {file} on this machine")
    if not found:
        raise RunError("data_missing", f"task.{field}: {path} is no {ending} file, and no folder with such files")
    return found


def by_split(files: list[Path], root: Path) -> list[tuple[str, Path]]:
    """Returns each file with its split, as a word of its name or of a folder's says; all train where none says.

    Raises RunError where some names say one and others do not.
    """
    said = {file: split_of(_words(file, root)) for file in files}
    if any(said.values()) and not all(said.values()):
        silent = next(file for file, split in said.items() if split is None)
        cure = "begin its name with train, val or test"
        raise RunError("data_corrupt", f"task.path: {silent} names no split, though others do; {cure}")
    return [(split or "train", file) for file, split in said.items()]


def of_phase(found: list[tuple[str, Path]], phase: Phase) -> list[tuple[str, Path]]:
    """Returns the files that the phase may open."""
    return [(split, file) for split, file in found if phase == "final" or split != "test"]


def has_test(found: list[tuple[str, Path]]) -> bool:
    """Tells whether a file is of the test split."""
    return any(split == "test" for split, _ in found)


def _named(given: Path, ending: str, field: str) -> list[Path]:
    if match := _RANGE.search(given.name):
        return [given.with_name(name) for name in _names(given.name, match, field)]
    real = data_path(given, f"task.{field}")
    if not real.exists():
        raise RunError("data_missing", f"task.{field}: there is no {given} on this machine")
    if real.is_dir():
        found = sorted(given.rglob(f"*{ending}"))
        return [file for file in found if not any(part.startswith(".") for part in file.relative_to(given).parts)]
    return [given] if given.name.endswith(ending) else []


def _names(pattern: str, match: re.Match[str], field: str) -> list[str]:
    """The names that the pattern stands for."""
    first, last = match.groups()
    if not 0 <= int(last) - int(first) < _MOST:
        raise RunError("spec_invalid", f"task.{field}: {match[0]} is no range of at most {_MOST:,} files")
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    numbers = [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
    return [pattern.replace(match[0], number, 1) for number in numbers]


def _words(file: Path, root: Path) -> list[str]:
    """The words of the file's name, then those of the folders between it and the root."""
    below = file.relative_to(root).parts[:-1] if file.is_relative_to(root) and file != root else ()
    return [*re.split(r"[^A-Za-z]+", file.name.partition(".")[0]), *reversed(below)]
