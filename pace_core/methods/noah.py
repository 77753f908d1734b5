"""NOAH: prompts, LoRA and adapters together; how much of each in every block is searched in a trained supernet."""

import math
import random

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt, PositiveInt
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pace_core.methods._bottleneck import Bottleneck, BranchAdapter, quick_gelu
from pace_core.methods._inject import freeze
from pace_core.methods._low_rank import factors
from pace_core.methods._method import Method
from pace_core.methods._parameters import uniform
from pace_core.methods._prompt_tokens import PromptTokens, prompt
from pace_core.network.residual import ResidualLinear
from pace_core.network.search_space import Architecture, SearchParams
from pace_core.spec import ParamsModel, RunError

MODULES = ("prompt", "lora", "adapter")


class Sizes(ParamsModel):
    """Per block, 0: none of it."""

    prompt: tuple[NonNegativeInt, ...]
    """Prompts."""
    lora: tuple[NonNegativeInt, ...]
    """Rank of the matrix on the fused qkv."""
    adapter: tuple[NonNegativeInt, ...]
    """Width of the adapter after the MLP."""


class Params(SearchParams):
    """VPT-Deep, LoRA on the fused qkv without alpha / r, and an adapter after each MLP and its drop path. As in the
    authors' code LoRA and adapters begin normal with std 0.02, so not at the pretrained network, and prompts uniform
    in ± sqrt(6 / ((number + 1) · width)). `training` and `optimizer` are those of the last stage, which trains the
    architecture that was found."""

    sizes: tuple[PositiveInt, ...] = Field(default=(1, 5, 10), min_length=1)
    """Lengths, ranks and widths to choose from: VTAB-1K's; few-shot takes 5, 10, 50 and 100."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of prompts, of LoRA's input and inside the adapters."""
    supernet_epochs: int = Field(default=500, ge=1)
    """Epochs of the supernet's training."""
    supernet_lr: float = Field(default=5e-4, gt=0)
    """Learning rate of the supernet's training."""
    generations: int = Field(default=15, ge=0)
    """Rounds after the first population."""
    depth_rate: float = Field(default=0.4, ge=0, le=1)
    """Probability with which a mutation draws anew how many blocks have prompts, LoRA or adapters."""
    budget: int = Field(default=640_000, ge=0)
    """Most trained parameters of an architecture, without the head."""
    architecture: Sizes | None = None
    """Sizes in every block; searched where null."""


class Lora(ResidualLinear):
    """dW = B A of the first `size` rows of A and columns of B."""

    def __init__(self, base: nn.Linear, name: str, rank: int, dropout: float, rng: torch.Generator) -> None:
        super().__init__(base, name)
        self.A, self.B = factors("normal", rank, self.in_features, self.out_features, rng)
        self.size = rank
        self.dropout = nn.Dropout(dropout)

    def delta_weight(self) -> Tensor | None:
        return self.B[:, : self.size] @ self.A[: self.size] if self.size else None

    def delta_bias(self) -> None:
        return None

    def delta(self, x: Tensor) -> Tensor:
        if not self.size:
            return x.new_zeros(x.shape[0], *[1] * (x.dim() - 2), self.out_features)
        return F.linear(F.linear(self.dropout(x), self.A[: self.size]), self.B[:, : self.size])

    def plain(self, x: Tensor) -> Tensor:
        return self.base(x) + self.delta(x)

    def num_parameters(self, size: int) -> int:
        return size * (self.out_features + self.in_features)


class Adapter(BranchAdapter):
    """The adapter after a block's MLP with the first `size` of its hidden units."""

    def __init__(self, op: nn.Module, name: str, adapter: Bottleneck) -> None:
        super().__init__(op, name, adapter)
        self.size = len(adapter.W1)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u = self.op(x)
        return u, self.adapter(u, self.size) if self.size else torch.zeros_like(u)

    def num_parameters(self, size: int) -> int:
        width = len(self.adapter.W2)
        return size * (2 * width + 1) + width if size else 0


class Space:
    """For prompts, LoRA and adapters apart: how many first blocks have them, and the size in each of those."""

    def __init__(self, blocks: nn.Sequential, params: Params) -> None:
        self.params, self.num_blocks = params, len(blocks)
        self.depths = sorted({-(-len(blocks) * quarter // 4) for quarter in (1, 2, 3, 4)})
        self.parts: dict[str, list[PromptTokens] | list[Lora] | list[Adapter]] = {
            "prompt": [block.prompts for block in blocks],
            "lora": [block.attn.qkv for block in blocks],
            "adapter": [block.drop_path2 for block in blocks],
        }

    def sample(self, rng: random.Random) -> Architecture:
        return {module: self._to_depth([], rng.choice(self.depths), rng) for module in MODULES}

    def mutated(self, parent: Architecture, rng: random.Random) -> Architecture:
        """Depths and single sizes change; the authors' code changes depths alone."""

        def mutated(sizes: list[int]) -> list[int]:
            used = [size for size in sizes if size]
            depth = rng.choice(self.depths) if rng.random() < self.params.depth_rate else len(used)
            drawn = [rng.choice(self.params.sizes) if rng.random() < self.params.mutation_rate else s for s in used]
            return self._to_depth(drawn, depth, rng)

        return {module: mutated(parent[module]) for module in MODULES}

    def crossed(self, first: Architecture, second: Architecture, rng: random.Random) -> Architecture:
        return {module: list(rng.choice((first, second))[module]) for module in MODULES}

    def num_parameters(self, architecture: Architecture) -> int:
        return sum(
            part.num_parameters(size)
            for module in MODULES
            for part, size in zip(self.parts[module], architecture[module], strict=True)
        )

    def configure(self, architecture: Architecture) -> None:
        for module in MODULES:
            for part, size in zip(self.parts[module], architecture[module], strict=True):
                part.size = size

    def _to_depth(self, sizes: list[int], depth: int, rng: random.Random) -> list[int]:
        drawn = [rng.choice(self.params.sizes) for _ in range(depth - len(sizes))]
        return [*sizes[:depth], *drawn] + [0] * (self.num_blocks - depth)


def space(model: VisionTransformer, params: Params) -> Space:
    """Returns the architectures of an adapted model."""
    return Space(model.blocks, params)


def adapt(model: VisionTransformer, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone and puts in what the architecture says, or the largest of everything for a supernet.

    Raises RunError `spec_invalid` for an architecture of another number of blocks, and for blocks without the modules
    that it changes.
    """
    freeze(model, rng)
    for name in ("attn.qkv", "drop_path2"):
        if name not in dict(model.blocks[0].named_modules()):
            message = f"method.name: noah cannot adapt blocks such as {type(model.blocks[0]).__name__}, without {name}"
            raise RunError("spec_invalid", f"{message}; use another method, such as lora_add")
    depth, largest = len(model.blocks), max(params.sizes)
    given = params.architecture or Sizes(**{module: (largest,) * depth for module in MODULES})
    for module in MODULES:
        if len(sizes := getattr(given, module)) != depth:
            message = f"method.architecture.{module}: has {len(sizes)} sizes; give one for each of the {depth} blocks"
            raise RunError("spec_invalid", message)
    every = zip(model.blocks, given.prompt, given.lora, given.adapter, strict=True)
    for number, (block, length, rank, hidden) in enumerate(every):
        if length:
            bound = math.sqrt(6 / ((length + 1) * model.embed_dim))  # Xavier's for a tensor (1, length, width)
            tokens = uniform((length, model.embed_dim), bound, rng).detach()
            prompt(block, block, PromptTokens(tokens, model.num_prefix_tokens, params.dropout))
        if rank:
            block.attn.qkv = Lora(block.attn.qkv, f"blocks.{number}.attn.qkv", rank, params.dropout, rng)
        if hidden:
            settings = {"activation": quick_gelu, "dropout": params.dropout, "std": 0.02}
            adapter = Bottleneck(model.embed_dim, hidden, rng, **settings)
            block.drop_path2 = Adapter(block.drop_path2, f"blocks.{number}.drop_path2", adapter)


_RELEASED = {
    "5 10 1 5 10 1 10 1 10 1 10 1 | 1 10 10 10 5 10 10 10 5 1 10 1 | 10 1 5 10 10 1 5 5 10 1 5 10": 426_313,  # Caltech
    "10 5 5 10 5 5 5 5 5 5 5 5 | 5 5 5 10 5 5 5 10 10 10 10 5 | 5 5 5 5 5 10 5 10 5 5 5 5": 431_686,  # SVHN
    "1 5 10 1 10 5 1 1 1 5 5 5 | 5 10 10 10 1 10 5 5 10 5 10 1 | 5 1 10 10 1 10 1 1 5 10 5 5": 397_888,  # KITTI
    "10 5 1 1 5 10 5 1 1 5 1 1 | 10 5 1 1 5 10 5 1 1 5 1 1 | 1 1 1 10 1 1 10 10 10 10 10 1": 287_298,  # DTD
}
"""Subnets that the authors released for VTAB-1K: prompts | LoRA ranks | adapter widths of the blocks → parameters."""


def _released(sizes: str) -> dict[str, tuple[int, ...]]:
    """Returns an architecture written as a line of the table."""
    rows = [tuple(int(size) for size in row.split()) for row in sizes.split("|")]
    return dict(zip(MODULES, rows, strict=True))


METHOD = Method(
    name="noah",
    title="NOAH",
    doc=__doc__,
    params=Params,
    paper="Zhang, Zhou, Liu 2022, arXiv 2206.04673",
    gives=frozenset({"delta"}),
    fits=frozenset({"vit"}),
    starts_pretrained=False,
    stages=("supernet", "search", "train"),  # the best architecture is trained anew from the pretrained network
    published_counts=[({"architecture": _released(sizes)}, count) for sizes, count in _RELEASED.items()],
    adapt=adapt,
    space=space,
)
