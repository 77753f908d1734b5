"""SSF: every operation's output is scaled and shifted by channel, which folds into the operation's weights."""

import torch
from torch import Tensor, nn

from pace_core.methods._inject import freeze
from pace_core.methods._method import Method
from pace_core.methods._scale_shift import ScaleShift, start
from pace_core.network.residual import ResidualLinear
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """gamma ⊙ u + beta for the output u of each linear layer, norm and patch embedding; nothing to choose."""


class Layer(ResidualLinear):
    """dW = diag(gamma - 1) W0, db = (gamma - 1) ⊙ b0 + beta."""

    def __init__(self, base: nn.Linear, name: str, rng: torch.Generator) -> None:
        super().__init__(base, name)
        self.gamma, self.beta = start(self.out_features, rng)

    def delta_weight(self) -> Tensor:
        return (self.gamma - 1)[:, None] * self.weight

    def delta_bias(self) -> Tensor:
        return self.beta if self.bias is None else torch.addcmul(self.beta, self.gamma - 1, self.bias)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u = self.base(x)
        return u, torch.addcmul(self.beta, self.gamma - 1, u)

    def delta(self, x: Tensor) -> Tensor:
        return self.parts(x)[1]

    def plain(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.beta, self.gamma, self.base(x))


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts a scale and shift behind its operations."""
    freeze(model, rng)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear):
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
    published_counts=[({}, 205_824)],  # 0.24 M with VTAB's mean head, 0.39 M with FGVC's
    adapt=adapt,
)
