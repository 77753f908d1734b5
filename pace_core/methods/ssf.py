"""SSF: every operation's output is scaled and shifted by channel, which folds into the operation's weights."""

import torch
from torch import Tensor, nn

from pace_core.methods._inject import freeze
from pace_core.methods._method import Method
from pace_core.methods._scale_shift import ScaleShift, initial_scale_shift
from pace_core.network.parts import takes_tokens
from pace_core.network.residual import ResidualLinear
from pace_core.spec import ParamsModel


def undecayed(name: str) -> bool:
    """Tells whether a parameter is spared the weight decay: all vectors are, as in the authors' code."""
    return name.endswith((".scale", ".shift", ".bias"))


class Params(ParamsModel):
    """gamma ⊙ u + beta for the output u of each linear layer, norm and patch embedding; nothing to choose.

    gamma - 1 is what is stored, and neither it nor any shift or bias is decayed, as in the authors' code.
    """


class Layer(ResidualLinear):
    """dW = diag(scale) W0, db = scale ⊙ b0 + shift, with scale = gamma - 1 and shift = beta."""

    def __init__(self, base: nn.Linear, name: str, rng: torch.Generator) -> None:
        super().__init__(base, name)
        self.scale, self.shift = initial_scale_shift(self.out_features, rng)

    def delta_weight(self) -> Tensor:
        return self.scale[:, None] * self.weight

    def delta_bias(self) -> Tensor:
        return self.shift if self.bias is None else torch.addcmul(self.shift, self.scale, self.bias)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u = self.base(x)
        return u, torch.addcmul(self.shift, self.scale, u)

    def delta(self, x: Tensor) -> Tensor:
        return self.parts(x)[1]

    def plain(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, 1 + self.scale, self.base(x))


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts a scale and shift behind its operations."""
    freeze(model, rng)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and takes_tokens(name):
            model.set_submodule(name, Layer(module, name, rng))
        elif isinstance(module, nn.LayerNorm | nn.Conv2d) and module.weight is not None:
            # a LayerNorm without weight and bias is left out: there would be nothing to fold scale and shift into
            model.set_submodule(name, ScaleShift(module, name, rng))


METHOD = Method(
    name="ssf",
    title="SSF",
    doc=__doc__,
    params=Params,
    paper="Lian et al., NeurIPS 2022, arXiv 2210.08823",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin"}),
    starts_pretrained=False,
    undecayed=undecayed,
    published_counts=[({}, 205_824)],  # 0.24 M with VTAB's mean head, 0.39 M with FGVC's
    adapt=adapt,
)
