"""Adapters: a small network after a block's MLP, and after its attention too where Houlsby's form is asked for."""

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pace_core.methods._bottleneck import Bottleneck, BranchAdapter, quick_gelu
from pace_core.methods._inject import freeze
from pace_core.methods._method import Method
from pace_core.network.parts import block_linears, blocks_of
from pace_core.network.residual import Residual
from pace_core.spec import ParamsModel, RunError

# the last module of a branch, in timm's networks and in those of transformers
_AFTER_MLP = ("drop_path2", "output.dropout")
_AFTER_ATTENTION = ("drop_path1", "attention.output.dropout")


class Params(ParamsModel):
    """u + W2 g(W1 u + b1) + b2 for the output u of an MLP or an attention, after its drop path or dropout."""

    placement: Literal["mlp", "houlsby", "drop"] = "mlp"
    """mlp: one a block, after the MLP, as in NOAH's code, which made VTAB's row: g(t) = t σ(1.702 t), W1 and W2 normal
    with std 0.02; houlsby: another after the attention, and every LayerNorm is trained too; GELU, std 0.001; drop: as
    mlp, but none in the first `skipped` blocks (AdapterDrop, whose own activation and start may differ)."""
    width: int = Field(default=8, ge=1)
    """Hidden units of an adapter: 8 in VTAB's row, 48 in GLUE's of 0.9 M."""
    skipped: int = Field(default=5, ge=0)
    """With placement drop: how many blocks, from the first on, have no adapter."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the hidden units dropped in training; 0 in Houlsby et al.'s code."""


class Norm(Residual):
    """A LayerNorm of which weight and bias are trained; what is stored is their change."""

    def __init__(self, op: nn.LayerNorm, name: str) -> None:
        super().__init__(name)
        self.op = op
        self.weight = nn.Parameter(torch.zeros_like(op.weight))
        self.bias = None if op.bias is None else nn.Parameter(torch.zeros_like(op.bias))

    def base(self, x: Tensor) -> Tensor:
        return self.op(x)

    def delta(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.op.normalized_shape, self.weight, self.bias, self.op.eps)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.base(x), self.delta(x)

    def plain_module(self) -> nn.Module:
        """Returns the norm with the changes added to its weight and bias."""
        changed = copy.deepcopy(self.op)
        for own, change in ((changed.weight, self.weight), (changed.bias, self.bias)):
            if change is not None:
                own += change
        return changed


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts adapters behind the branches of its blocks.

    Raises RunError `spec_invalid` where no block is left with one, or a block has no such branches.
    """
    freeze(model, rng)
    skipped, blocks = params.skipped if params.placement == "drop" else 0, blocks_of(model)
    if skipped >= len(blocks):
        message = f"method.skipped: of {len(blocks)} blocks {skipped} cannot be skipped; use at most {len(blocks) - 1}"
        raise RunError("spec_invalid", message)
    houlsby = params.placement == "houlsby"
    places = (*_AFTER_MLP, *(_AFTER_ATTENTION if houlsby else ()))
    settings = {"activation": F.gelu if houlsby else quick_gelu, "dropout": params.dropout}
    settings["std"] = 1e-3 if houlsby else 0.02
    modules, linears = dict(model.named_modules()), block_linears(model)
    for block in blocks[skipped:]:
        width = next(linear.weight.shape[1] for name, linear in linears.items() if name.startswith(f"{block}."))
        ends = [name for place in places if (name := f"{block}.{place}") in modules]
        if not ends:
            message = f"method.name: adapter cannot adapt blocks such as {type(modules[block]).__name__} ({block})"
            raise RunError("spec_invalid", f"{message}; use another method, such as lora_add")
        for name in ends:
            adapter = Bottleneck(width, params.width, rng, **settings)
            model.set_submodule(name, BranchAdapter(modules[name], name, adapter))
    if houlsby:
        for name, module in modules.items():
            if isinstance(module, nn.LayerNorm) and module.weight is not None:
                model.set_submodule(name, Norm(module, name))


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
    starts_pretrained=False,
    published_counts=[
        ({}, 156_768),  # VTAB's row: 0.16 M
        ({"width": 12}, 230_544),
        ({"width": 64}, 1_189_632),
        ({"width": 96}, 1_779_840),
        ({"placement": "houlsby"}, 351_936),  # 313,536 without the norms
        ({"placement": "houlsby", "width": 64}, 2_417_664),
        ({"placement": "drop", "width": 48, "skipped": 5}, 521_808),
    ],
    text_counts=[
        ({"placement": "drop", "width": 48, "skipped": 0}, 894_528),  # GLUE's Adapter^D: 0.9 M
        ({"placement": "houlsby", "width": 64}, 2_417_664),
    ],
    adapt=adapt,
)
