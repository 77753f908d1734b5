"""A registry: one declaration per file, found by its name."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from pace_core import data, methods, registry, regularizers
from pace_core.data import Source
from pace_core.methods import Method
from pace_core.regularizers import Declaration

DECLARED = """
from pace_core.methods import Method
from pace_core.spec import ParamsModel

METHOD = Method(name={name!r}, title="", doc="", params=ParamsModel, adapt=print, fits=frozenset())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """A package of these files, which can be imported."""

    def write(name: str, **files: str) -> ModuleType:
        (tmp_path / name).mkdir()
        for file, content in {"__init__": "", **files}.items():
            (tmp_path / name / f"{file}.py").write_text(content)
        monkeypatch.syspath_prepend(tmp_path)
        return import_module(name)

    return write


def test_every_method_regularizer_and_source_is_found_by_the_name_it_declares() -> None:
    assert isinstance(methods.find("lora_add"), Method)
    assert isinstance(regularizers.find("pace"), Declaration)
    assert isinstance(data.find("csv"), Source)
    for entries in (methods.entries(), regularizers.entries(), data.entries()):
        assert all(entry.name == name for name, entry in entries.items())


def test_a_file_with_a_leading_underscore_is_no_entry(folder: Callable[..., ModuleType]) -> None:
    package = folder("house_of_two", first=DECLARED.format(name="first"), _shared="WIDTH = 3")
    assert list(registry.load(package, Method)) == ["first"]
    assert "house_of_two._shared" not in sys.modules


def test_two_files_cannot_claim_one_name(folder: Callable[..., ModuleType]) -> None:
    package = folder("house_of_twins", first=DECLARED.format(name="same"), second=DECLARED.format(name="same"))
    with pytest.raises(ValueError, match=r"'same' is claimed by both .*first\.py and .*second\.py"):
        registry.load(package, Method)


def test_a_file_that_declares_nothing_is_named(folder: Callable[..., ModuleType]) -> None:
    package = folder("house_of_none", empty="METHOD = None")
    with pytest.raises(TypeError, match=r"empty\.py declares 0 entries of type Method, not one"):
        registry.load(package, Method)


def test_a_field_that_does_not_exist_is_an_error_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="give"):
        Method(**vars(methods.find("lora_add")), give=frozenset({"delta"}))


def test_one_entry_is_found_without_loading_the_others_and_by_its_own_name(folder: Callable[..., ModuleType]) -> None:
    package = folder("several", first=DECLARED.format(name="first"), second=DECLARED.format(name="elsewhere"))
    assert registry.find(package, Method, "first").name == "first"
    assert "several.second" not in sys.modules
    assert registry.find(package, Method, "elsewhere").name == "elsewhere"
    for name in ("second", "none", "__init__", "several.first"):
        with pytest.raises(KeyError):
            registry.find(package, Method, name)
