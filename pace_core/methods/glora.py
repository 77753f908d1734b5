"""GLoRA: for every layer one of 432 forms of change, found by searching a trained supernet."""

import random
from typing import Any, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from pace_core.methods._inject import adapt_linears, freeze
from pace_core.methods._method import Method
from pace_core.methods._parameters import xavier_uniform
from pace_core.network.parts import block_linears
from pace_core.network.residual import ResidualLinear
from pace_core.network.search_space import Architecture, SearchParams
from pace_core.spec import RunError

OfWeight = Literal["lora", "vector", "scalar", "none"]
OfPrompt = Literal["lora", "vector", "none"]
OfBias = Literal["scalar", "none", "vector"]
Forms = tuple[OfWeight, OfWeight, OfPrompt, OfBias, OfBias]
CHOICES: list[tuple[str, ...]] = [get_args(forms) for forms in get_args(Forms)]
LARGEST: Forms = ("lora", "lora", "lora", "vector", "vector")


class Params(SearchParams):
    """W = W0 + W0 ⊙ A + B, b = b0 + b0 ⊙ D + E + W0 C. The supernet trains as `training` and `optimizer` say; the
    authors take 500 epochs at 1e-4."""

    rank: int = Field(default=8, ge=1)
    """Rank of A, B and C where they are low-rank; the paper takes 2, 4 and 8."""
    budget: int = Field(default=1_000_000, ge=0)
    """Most trained parameters of an architecture, without the head."""
    architecture: dict[str, Forms] | None = None
    """Layer → forms of A, B, C, D and E; searched where null."""


class Support(nn.Module):
    """A matrix (rows, columns) that is low-rank, a column, a number or nothing; the small forms are corners of `down`.

    Built as large as `form`, it can be set to any smaller one. Zero at the start.
    """

    def __init__(self, rows: int, columns: int, rank: int, form: str, rng: torch.Generator) -> None:
        super().__init__()
        self.rows, self.columns, self.rank, self.form = rows, columns, rank, form
        shapes = {"lora": (rows, rank), "vector": (rows, 1), "scalar": (1, 1)}
        self.down = nn.Parameter(torch.zeros(shapes[form])) if form != "none" else None
        self.up = xavier_uniform((rank, columns), rng) if form == "lora" else None

    def matrix(self) -> Tensor | None:
        """Returns a tensor that broadcasts to (rows, columns), or None where there is no change."""
        if self.down is None or self.form == "none":
            return None
        if self.form == "lora":
            return self.down @ self.up
        return self.down[:, :1] if self.form == "vector" else self.down[:1, :1]

    def size(self, form: str) -> int:
        """Returns the number of parameters of a form; none where nothing was built."""
        if self.down is None:
            return 0
        return {"lora": self.rank * (self.rows + self.columns), "vector": self.rows, "scalar": 1, "none": 0}[form]


class Layer(ResidualLinear):
    """One layer's change, in the forms that are set."""

    def __init__(self, base: nn.Linear, name: str, rank: int, forms: Forms, rng: torch.Generator) -> None:
        super().__init__(base, name)
        matrix, row, column = (base.out_features, base.in_features), (base.in_features, 1), (base.out_features, 1)
        a, b, c, d, e = forms
        forms = (a, b, c, d if base.bias is not None else "none", e)  # D scales a bias
        sides = (matrix, matrix, row, column, column)
        supports = [Support(*side, rank, form, rng) for side, form in zip(sides, forms, strict=True)]
        self.A, self.B, self.C, self.D, self.E = supports

    @property
    def supports(self) -> tuple[Support, ...]:
        return self.A, self.B, self.C, self.D, self.E

    def delta_weight(self) -> Tensor | None:
        scale, shift = self.A.matrix(), self.B.matrix()
        scaled = None if scale is None else self.weight * scale
        if shift is None:
            return scaled
        return shift.expand_as(self.weight) if scaled is None else scaled + shift

    def delta_bias(self) -> Tensor | None:
        prompt, scale, shift = self.C.matrix(), self.D.matrix(), self.E.matrix()
        parts = [] if prompt is None else [(self.weight @ prompt).squeeze(1)]
        parts += [] if scale is None else [self.bias * scale.squeeze(1)]
        parts += [] if shift is None else [shift.squeeze(1).expand(self.out_features)]
        if not parts and self.A.form == self.B.form == "none":
            return self.weight.new_zeros(self.out_features)  # the layer is left as it is
        return torch.stack(parts).sum(0) if parts else None


class Space:
    """A choice of five forms for every layer, all independent."""

    def __init__(self, layers: dict[str, Layer], mutation_rate: float) -> None:
        self.layers, self.mutation_rate = layers, mutation_rate

    def sample(self, rng: random.Random) -> Architecture:
        return {name: [rng.choice(forms) for forms in CHOICES] for name in self.layers}

    def mutated(self, parent: Architecture, rng: random.Random) -> Architecture:
        def draw(form: str, forms: tuple[str, ...]) -> str:
            return rng.choice(forms) if rng.random() < self.mutation_rate else form

        return {name: [draw(*pair) for pair in zip(chosen, CHOICES, strict=True)] for name, chosen in parent.items()}

    def crossed(self, first: Architecture, second: Architecture, rng: random.Random) -> Architecture:
        return {
            name: [rng.choice(pair) for pair in zip(chosen, second[name], strict=True)]
            for name, chosen in first.items()
        }

    def num_parameters(self, architecture: Architecture) -> int:
        return sum(
            support.size(form)
            for name, forms in architecture.items()
            for support, form in zip(self.layers[name].supports, forms, strict=True)
        )

    def configure(self, architecture: Architecture) -> None:
        for name, forms in architecture.items():
            for support, form in zip(self.layers[name].supports, forms, strict=True):
                support.form = form


def space(model: nn.Module, params: Params) -> Space:
    """Returns the architectures of an adapted model."""
    return Space({m.name: m for m in model.modules() if isinstance(m, Layer)}, params.mutation_rate)


def adapt(model: nn.Module, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and adapts every linear layer of the blocks; all forms at their largest for a supernet.

    Raises RunError `spec_invalid` for an architecture of other layers than the network's.
    """
    freeze(model, rng)
    names, given = block_linears(model).keys(), params.architecture
    if given is not None and given.keys() != names:
        wrong: Any = sorted(names ^ given.keys())
        message = f"method.architecture: {wrong[0]} is missing or does not belong there"
        raise RunError("spec_invalid", f"{message}; name each linear layer of the blocks once")

    def layer(base: nn.Linear, name: str) -> Layer:
        return Layer(base, name, params.rank, LARGEST if given is None else given[name], rng)

    adapt_linears(model, "all", layer)


METHOD = Method(
    name="glora",
    title="GLoRA",
    doc=__doc__,
    params=Params,
    paper="Chavan et al. 2023, arXiv 2306.07967",
    gives=frozenset({"delta", "merged"}),
    fits=frozenset({"vit", "swin"}),
    stages=("supernet", "search"),  # the best architecture keeps the supernet's weights: no training after the search
    published_counts=[({"rank": 2}, 884_832), ({"rank": 4}, 1_603_776), ({"rank": 8}, 3_041_664)],  # of the supernets
    adapt=adapt,
    space=space,
)
