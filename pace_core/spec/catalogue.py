"""The generated catalogue: what methods, regularizers, sources and backbones there are, readable without torch."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict

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


class BackboneEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    title: str
    family: str
    """vit or swin."""
    image_size: int
    depth: int
    """Number of blocks."""
    width: int
    """Features that the head reads."""
    parameters: int
    gflops: float
    """Forward pass of one image, 2 flops a multiply-add."""
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
