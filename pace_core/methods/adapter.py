"""Adapters: a small network after a block's MLP, and after its attention too where Houlsby's form is asked for."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pace_core.methods._bottleneck import Bottleneck
from pace_core.methods._inject import freeze
from pace_core.methods._method import Method
from pace_core.network.parts import block_linears, block_of, blocks_of
from pace_core.network.residual import Residual
from pace_core.spec import ParamsModel, RunError

_AFTER_MLP = ("mlp.fc2", "output.dense")
_AFTER_ATTENTION = ("attn.proj", "attention.output.dense")


class Params(ParamsModel):
    """u + W2 GELU(W1 u + b1) + b2 for the output u of the last layer of an MLP or an attention."""

    placement: Literal["mlp", "houlsby", "drop"] = "mlp"
    """mlp: one a block, after the MLP (VTAB's row); houlsby: another after the attention; drop: as mlp, but none in
    the first `skipped` blocks (AdapterDrop)."""
    width: int = Field(default=8, ge=1)
    """Hidden units of an adapter: 8 in VTAB's row, 48 in GLUE's of 0.9 M."""
    skipped: int = Field(default=5, ge=0)
    """With placement drop: how many blocks, from the first on, have no adapter."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the hidden units dropped in training."""


class Adapter(Residual):
    """u + adapter(u) for u = op(x)."""

    def __init__(self, op: nn.Linear, name: str, params: Params, rng: torch.Generator) -> None:
        super().__init__(name)
        self.op = op
        self.adapter = Bottleneck(op.out_features, params.width, rng, activation=F.gelu, dropout=params.dropout)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u = self.op(x)
        return u, self.adapter(u)

    def base(self, x: Tensor) -> Tensor:
        return self.op(x)


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapters behind its layers.

    Raises RunError `spec_invalid` where no block is left with one.
    """
    freeze(model, rng)
    skipped, blocks = params.skipped if params.placement == "drop" else 0, blocks_of(model)
    if skipped >= len(blocks):
        message = f"method.skipped: of {len(blocks)} blocks {skipped} cannot be skipped; use at most {len(blocks) - 1}"
        raise RunError("spec_invalid", message)
    places = _AFTER_MLP + (_AFTER_ATTENTION if params.placement == "houlsby" else ())
    for name, linear in block_linears(model).items():
        block = block_of(name)
        assert block is not None
        if name.removeprefix(f"{block}.") in places and block in blocks[skipped:]:
            assert isinstance(linear, nn.Linear)
            model.set_submodule(name, Adapter(linear, name, params, rng))


METHOD = Method(
    name="adapter",
    title="Adapter",
    doc=__doc__,
    params=Params,
    paper=(
        "Houlsby et al., ICML 2019, arXiv 1902.00751; one a block: Pfeiffer et al., EACL 2021, arXiv 2005.00247; "
        "not in every block: Rücklé et al., EMNLP 2021, arXiv 2010.11918"
    ),
    gives=frozenset({"delta"}),
    fits=frozenset({"vit", "swin", "text"}),
    published_counts=[
        ({}, 156_768),  # VTAB's row: 0.16 M
        ({"width": 12}, 230_544),
        ({"width": 64}, 1_189_632),
        ({"width": 96}, 1_779_840),
        ({"placement": "houlsby"}, 313_536),
        ({"placement": "houlsby", "width": 64}, 2_379_264),
        ({"placement": "drop", "width": 48, "skipped": 5}, 521_808),
    ],
    text_counts=[
        ({"placement": "drop", "width": 48, "skipped": 0}, 894_528),  # GLUE's Adapter^D: 0.9 M
        ({"placement": "houlsby", "width": 64}, 2_379_264),
    ],
    adapt=adapt,
)
