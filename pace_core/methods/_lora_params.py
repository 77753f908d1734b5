"""Hyperparameters that the LoRA family shares."""

from typing import Literal

from pydantic import Field

from pace_core.spec import ParamsModel

Init = Literal["xavier", "kaiming", "normal"]


class TargetParams(ParamsModel):
    """Places of the adapters."""

    targets: Literal["all", "qkv", "q,v"] = "all"
    """Adapted layers: every linear of a block (PACE), the fused qkv as one, or q and v apart (LoRA on GLUE)."""


class LoraParams(TargetParams):
    """One low-rank matrix B A a layer, with A of shape (rank, in) and B of shape (out, rank)."""

    rank: int = Field(default=10, ge=1)
    """Rank of the trained matrix; at most the narrower side of every adapted layer."""
    alpha: float | None = Field(default=None, gt=0)
    """The matrix is scaled by alpha / rank; not at all where null."""
    init: Init = "xavier"
    """How A begins, with B zero: xavier as in PACE's rows, uniform in ± sqrt(6 / (in + rank)); kaiming as in Hu et al.,
    uniform in ± 1 / sqrt(in). normal: A and B both normal with std 0.02, as the code behind VTAB's LoRA row (NOAH) in
    effect begins, so not at the pretrained network."""
    bias: bool = True
    """Also train a change of the bias, as PACE does."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the adapter's inputs dropped in training; 0.1 in VTAB's LoRA row (NOAH)."""

    @property
    def scale(self) -> float:
        """Factor of B A."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


class PromptParams(ParamsModel):
    """A prompt p added to the layer's input, which is a change W0 p of its bias."""

    prompt: Literal["factored", "vector"] = "factored"
    """factored: p = P q with P (in, rank) and q (rank, 1), as the authors' code; vector: one plain p (in), as the
    paper's parameter counts."""
