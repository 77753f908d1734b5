"""The committed catalogue, which the API reads without torch, says what the registries say."""

from importlib.resources import files

from pace_core.catalogue.__main__ import generate


def test_the_committed_catalogue_is_what_the_registries_generate() -> None:
    folder = files("pace_core") / "catalogue"
    stale = [name for name, content in generate().items() if (folder / name).read_text("utf-8") != content]
    assert not stale, f"{', '.join(stale)} out of date; run `make catalogue` and commit"
