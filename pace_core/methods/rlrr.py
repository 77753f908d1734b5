"""RLRR: every weight is rescaled by a column times a row around one, biases are shifted, norms scaled and shifted."""

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pace_core.methods._inject import adapt_linears, freeze
from pace_core.methods._method import Method
from pace_core.methods._scale_shift import ScaleShift
from pace_core.network.parts import block_of, blocks_of
from pace_core.network.residual import ResidualLinear
from pace_core.spec import ParamsModel, RunError


def undecayed(name: str) -> bool:
    """Tells whether a parameter is spared the weight decay: biases and all of the norms', as in the authors' code."""
    return name.endswith((".scale", ".shift", ".bias")) and not name.startswith("patch_embed.")


class Params(ParamsModel):
    """dW = W0 ⊙ s_l s_rᵀ and db = f on every linear layer of the blocks; a scale and a shift behind their norms, the
    last norm and the patch embedding. As in the authors' code f and the norms' scales and shifts are not decayed; the
    patch embedding's scale is stored as gamma - 1, so that the decay pulls it to the pretrained network."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the entries of a branch's output dropped in training, growing linearly from 0 in the first block to this
    in the last. The authors have it in place of drop path, so their rows need `training.drop_path` 0 and 0 to 0.5 here;
    they say for each task which."""


class Layer(ResidualLinear):
    """h(x) = W0 x + b0 + s_l ⊙ W0 (s_r ⊙ x) + f, with a row s_r for each of a fused qkv's three matrices."""

    def __init__(self, base: nn.Linear, name: str, rng: torch.Generator) -> None:
        super().__init__(base, name)
        matrices = 3 if name.endswith("attn.qkv") else 1
        self.left = _uniform((self.out_features,), 1, rng)
        self.right = _uniform((matrices, self.in_features), self.in_features, rng)
        self.shift = nn.Parameter(torch.zeros(self.out_features))

    def delta_weight(self) -> Tensor:
        rows = self.right.repeat_interleave(self.out_features // len(self.right), dim=0)
        return self.weight * (self.left[:, None] * rows)

    def delta_bias(self) -> Tensor:
        return self.shift

    def delta(self, x: Tensor) -> Tensor:
        # W0 as it is, so that no gradient of its size is formed
        weights = self.weight.chunk(len(self.right))
        products = [F.linear(x * row, weight) for row, weight in zip(self.right, weights, strict=True)]
        product = products[0] if len(products) == 1 else torch.cat(products, dim=-1)
        return torch.addcmul(self.shift, self.left, product)


def _uniform(shape: tuple[int, ...], fan_in: int, rng: torch.Generator) -> nn.Parameter:
    """Kaiming-uniform, as the authors start both factors: the first dW is some percent of W0."""
    bound = math.sqrt(6 / fan_in)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=rng))


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone, rescales its linear layers, and scales and shifts behind norms and patch embedding."""
    freeze(model, rng)
    adapt_linears(model, "all", lambda base, name: Layer(base, name, rng))
    if params.dropout:
        _drop_entries(model, params.dropout)
    for name, module in list(model.named_modules()):
        if _is_scaled(name, module):
            model.set_submodule(name, ScaleShift(module, name, rng))


def _drop_entries(model: nn.Module, rate: float) -> None:
    """Puts dropout before the drop path of every branch. Raises RunError `spec_invalid` for blocks without one."""
    names = blocks_of(model)
    for name, p in zip(names, torch.linspace(0, rate, len(names)).tolist(), strict=True):
        block = model.get_submodule(name)
        for place in ("drop_path1", "drop_path2"):
            if not hasattr(block, place):
                message = f"method.dropout: blocks such as {type(block).__name__} ({name}) have no place for it; use 0"
                raise RunError("spec_invalid", message)
            setattr(block, place, nn.Sequential(nn.Dropout(p), getattr(block, place)))


def _is_scaled(name: str, module: nn.Module) -> bool:
    if isinstance(module, nn.LayerNorm):
        return name in ("norm", "fc_norm") or (block_of(name) is not None and name.endswith((".norm1", ".norm2")))
    return name == "patch_embed.proj"


METHOD = Method(
    name="rlrr",
    title="RLRR",
    doc=__doc__,
    params=Params,
    paper="Dong et al., Low-Rank Rescaled Vision Transformer Fine-Tuning, CVPR 2024, arXiv 2403.19067",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin"}),
    starts_pretrained=False,
    undecayed=undecayed,
    published_counts=[({}, 288_768)],
    adapt=adapt,
)
