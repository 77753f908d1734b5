"""BitFit: only the biases are trained."""

import copy

import torch
from torch import Tensor, nn

from pace_core.methods._inject import freeze
from pace_core.methods._method import Method
from pace_core.network.parts import head_prefix, takes_tokens
from pace_core.network.residual import Residual, ResidualLinear
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """b = b0 + shift for every bias of a linear layer, norm or patch embedding; nothing to choose.

    The change is stored, not the bias: the weight decay pulls towards b0, and noise falls on the change alone.
    """


class Layer(ResidualLinear):
    """dW = 0, db = shift."""

    def __init__(self, base: nn.Linear, name: str) -> None:
        super().__init__(base, name)
        self.shift = nn.Parameter(torch.zeros(self.out_features))

    def delta_weight(self) -> None:
        return None

    def delta_bias(self) -> Tensor:
        return self.shift


class Shifted(Residual):
    """op(x) + shift for an op that is no linear layer; a Conv2d's channels stand before height and width."""

    def __init__(self, op: nn.LayerNorm | nn.Conv2d, name: str) -> None:
        super().__init__(name)
        self.op = op
        self.shift = nn.Parameter(torch.zeros(op.weight.shape[0]))

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.shift[:, None, None] if isinstance(self.op, nn.Conv2d) else self.shift
        u = self.op(x)
        return u, rows.expand(u.shape[0], *[1] * (u.dim() - rows.dim() - 1), *rows.shape)

    def noise(self, delta: Tensor) -> Tensor:
        assert not isinstance(self.op, nn.Conv2d), "only what stands before the blocks, which has no noise, is a Conv2d"
        return super().noise(delta)

    def plain_module(self) -> nn.Module:
        moved = copy.deepcopy(self.op)
        assert moved.bias is not None
        moved.bias = nn.Parameter((moved.bias + self.shift).detach(), requires_grad=False)
        return moved


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and lets its biases move."""
    freeze(model, rng)
    for name, module in list(model.named_modules()):
        if f"{name}.".startswith(head_prefix(model)) or getattr(module, "bias", None) is None or not takes_tokens(name):
            continue
        if isinstance(module, nn.Linear):
            model.set_submodule(name, Layer(module, name))
        elif isinstance(module, nn.LayerNorm | nn.Conv2d):
            model.set_submodule(name, Shifted(module, name))


METHOD = Method(
    name="bitfit",
    title="BitFit",
    doc=__doc__,
    params=Params,
    paper="Ben Zaken, Ravfogel, Goldberg, ACL 2022, arXiv 2106.10199",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin", "text"}),
    published_counts=[({}, 102_912)],  # 0.10 M; 0.14 M with VTAB's mean head, 0.28 M with FGVC's
    text_counts=[({}, 102_144)],  # 101,376 in the blocks, 768 in the norm of the embeddings
    adapt=adapt,
)
