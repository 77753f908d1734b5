"""The parts of the catalogue by name."""

from enum import StrEnum


class Kind(StrEnum):
    """What can be listed."""

    METHODS = "methods"
    REGULARIZERS = "regularizers"
    SOURCES = "sources"
    BACKBONES = "backbones"
    BENCHMARKS = "benchmarks"
    RECIPES = "recipes"
