"""The generated catalogue: what methods, regularizers, sources and backbones there are, readable without torch."""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Gives = Literal["images", "sentences", "problems"]
"""Samples of a data source: images, sentences with a label, or problems with a worked answer."""
KINDS = ("methods", "regularizers", "sources", "backbones")


class Entry(BaseModel):
    """A method, regularizer or source, as far as it can be known without loading its code."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    title: str
    paper: str = ""
    summary: str = ""
    """First line of the module's docstring."""
    params: dict[str, Any]
    """JSON Schema of the parameters, with defaults and descriptions."""


class MethodEntry(Entry):
    gives: list[str] = []
    """delta: its layers offer base(x) and delta(x) apart. merged: it merges into the base weights exactly."""
    fits: list[str]
    """Families of networks that it can adapt: vit, swin, text."""
    starts_pretrained: bool
    """Whether the features are the pretrained ones before the first step."""
    stages: list[str] = ["train"]
    """What a run goes through, unless its architecture is given: supernet, search, train."""
    freezes_features: bool = False
    """Whether the backbone runs as it was pretrained, so that by default no drop path cuts its blocks in training."""


class RegularizerEntry(Entry):
    needs: list[str] = []
    """What it asks of the method's `gives`."""
    reasons: dict[str, str] = {}
    """For each of `needs`: a clause that says why, such as `it multiplies the adapter's output by noise`."""
    passes: float = 1.0
    """Forward-backward passes of a sample per step, for estimates of time."""
    activation_factor: float = 1.0
    """What a step keeps for its backward pass, in units of a plain step's, for estimates of memory."""
    mixes: bool = True
    """Whether its samples may be mixtures of images (mixup, CutMix)."""


class SourceEntry(Entry):
    phases: list[str] = ["search", "final"]
    gives: Gives = "images"
    """What its samples are, which says what kind of backbone reads them."""


class BackboneEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    title: str
    family: str
    """vit, swin or text."""
    image_size: int = 0
    """Side of the input in pixels; 0 for text."""
    max_length: int = 0
    """Tokens of the longest input; 0 for images."""
    vocabulary: int = 0
    """Tokens that a language model tells apart, 0 for all others."""
    depth: int
    """Number of blocks."""
    width: int
    """Features that the head reads."""
    parameters: int
    gflops: float
    """Forward pass of one image, or of the longest text; 2 flops a multiply-add."""
    bundled: bool
    layers: dict[str, tuple[int, int]]
    """Every linear layer of the blocks: name → (in, out)."""


class Catalogue(BaseModel):
    """Everything that can be named in a spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: dict[str, MethodEntry]
    regularizers: dict[str, RegularizerEntry]
    sources: dict[str, SourceEntry]
    backbones: dict[str, BackboneEntry]


@cache
def load_catalogue() -> Catalogue:
    """Loads the committed catalogue, which `make catalogue` writes: one JSON file per kind, each a list of entries."""
    folder = files("pace_core") / "catalogue"
    return Catalogue.model_validate(
        {
            kind: {entry["name"]: entry for entry in json.loads((folder / f"{kind}.json").read_text("utf-8"))}
            for kind in KINDS
        }
    )
