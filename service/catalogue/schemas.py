"""The parts of the catalogue by name."""

from enum import StrEnum


class Kind(StrEnum):
    """A kind of entry in the catalogue."""

    METHODS = "methods"
    REGULARIZERS = "regularizers"
    SOURCES = "sources"
    BACKBONES = "backbones"
    SECTIONS = "sections"
    """Of a spec: task, backbone, optimizer, training, resources."""
    BENCHMARKS = "benchmarks"
    RECIPES = "recipes"
    PUBLISHED = "published"
