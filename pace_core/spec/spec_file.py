"""Specs on disk: YAML, and JSON, which is YAML too."""

import os
import re
from collections.abc import Hashable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, cast

import yaml

from pace_core.spec.errors import Fault, SpecError
from pace_core.spec.run_spec import WEIGHT_FILES


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, as in JSON and in YAML 1.2; PyYAML follows YAML 1.1, where it is text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuses a key given twice, of which YAML would keep the last in silence."""
        given: set[str] = set()
        for key, _ in cast(list[tuple[yaml.Node, yaml.Node]], node.value):
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in given:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} appears twice", key.start_mark
                )
            given.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType]
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


_SHARDS = re.compile(r"\{\d+\.\.\d+\}")


def read_spec_file(path: str | PathLike[str]) -> dict[str, Any]:
    """Reads the raw spec in a file. Raises SpecError where the file is missing or holds no object of sections."""
    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except ValueError as error:  # no UTF-8
        raise _unreadable(path, f"it is not YAML: {' '.join(str(error).split())}") from error
    return read_spec_text(text, path)


def read_spec_text(text: str, path: str | PathLike[str] = "the text") -> dict[str, Any]:
    """Reads the raw spec in a text, which errors call `path`. Raises SpecError where it is no object of sections."""
    try:
        raw = parse_yaml(text)
    except RecursionError as error:
        raise _unreadable(path, "it is nested too deeply") from error
    except (ValueError, yaml.YAMLError) as error:  # ValueError: a date that is none, a number without end
        raise _unreadable(path, f"it is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise _unreadable(path, "it has no sections such as `task:` and `method:`")
    return cast(dict[str, Any], raw)


def with_absolute_paths(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the spec with its paths made absolute: `~` is the user's home, others count from the working folder.

    Paths are the task's `path`, `root` and fields that end in `_path`, `backbone.weights` where it is no word such as
    `hub`, and `init_from` where it is no job's id. URLs are left as they are, and so is whatever is no text.
    """
    said = dict(raw)
    if isinstance(raw.get("task"), Mapping):
        task = cast(Mapping[str, Any], raw["task"])
        said["task"] = {key: _absolute(value) if is_path_field(key) else value for key, value in task.items()}
    if isinstance(raw.get("backbone"), Mapping):
        backbone = cast(Mapping[str, Any], raw["backbone"])
        if _is_file(backbone.get("weights")):
            said["backbone"] = {**backbone, "weights": _absolute(backbone["weights"])}
    if _is_file(raw.get("init_from")):
        said["init_from"] = _absolute(raw["init_from"])
    return said


def missing_paths(raw: Mapping[str, Any], at: str = "") -> list[Fault]:
    """Returns a fault for every path of the task, and file of weights, that is not there on this machine.

    `at`: pointer to the place of `raw` in what was submitted.
    """
    found: list[tuple[str, Any]] = []
    if isinstance(raw.get("task"), Mapping):
        task = cast(Mapping[str, Any], raw["task"])
        found += [(f"/task/{key}", value) for key, value in task.items() if is_path_field(key)]
    if isinstance(raw.get("backbone"), Mapping):
        weights = cast(Mapping[str, Any], raw["backbone"]).get("weights")
        found += [("/backbone/weights", weights)] if _is_file(weights) else []
    return [
        Fault(pointer=at + field, code="missing", message=f"there is no {path} on this machine")
        for field, path in found
        if isinstance(path, str) and path and not _is_there(path)
    ]


def _is_there(path: str) -> bool:
    try:
        return "://" in path or Path(on_disk(path)).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def on_disk(path: str) -> str:
    """Returns what must be there for a path: of a pattern of files, such as /data/x-{00..09}.tar, their folder."""
    folder, _, name = path.rpartition("/")
    return folder or "/" if _SHARDS.search(name) else path


def is_path_field(key: Any) -> bool:
    """Returns whether a field of `task` names a file or folder."""
    return key in ("path", "root") or str(key).endswith("_path")


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and ("/" in value or value.startswith("~") or value.endswith(WEIGHT_FILES))


def _absolute(value: Any) -> Any:
    if not isinstance(value, str) or not value or "://" in value:
        return value
    try:
        return os.path.abspath(Path(value).expanduser())
    except RuntimeError:  # ~name of a user whom this machine does not know
        return value


def parse_yaml(text: str) -> Any:
    """Parses a value, numbers such as 1e-3 included. Raises YAMLError, ValueError, RecursionError."""
    return yaml.load(text, Loader=_Loader)


def _unreadable(path: str | PathLike[str], why: str) -> SpecError:
    return SpecError([Fault(pointer="", code="unreadable", message=f"{path} cannot be read: {why}")])
