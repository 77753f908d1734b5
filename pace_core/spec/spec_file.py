"""Specs on disk: YAML, and JSON, which is YAML too."""

import re
from os import PathLike
from pathlib import Path
from typing import Any, cast

import yaml

from pace_core.spec.errors import Fault, SpecError


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, as in JSON and in YAML 1.2; PyYAML follows YAML 1.1, where it is text."""


_Loader.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType]
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def read_spec_file(path: str | PathLike[str]) -> dict[str, Any]:
    """The raw spec in that file. Raises SpecError where the file is missing or holds no object of sections."""
    try:
        raw = parse_yaml(Path(path).read_text("utf-8"))
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unreadable(path, f"it is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise _unreadable(path, "it holds no object of sections, such as `task:` and `method:`")
    return cast(dict[str, Any], raw)


def parse_yaml(text: str) -> Any:
    """The value that the text means, numbers such as 1e-3 included. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)


def _unreadable(path: str | PathLike[str], why: str) -> SpecError:
    return SpecError([Fault(pointer="", code="unreadable", message=f"{path} cannot be read: {why}")])
