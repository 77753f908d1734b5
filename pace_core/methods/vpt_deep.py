"""VPT-Deep: every block gets prompts of its own; what the block before made of its prompts is dropped."""

import torch
from pydantic import Field
from timm.models.vision_transformer import VisionTransformer

from pace_core.methods._inject import freeze
from pace_core.methods._method import Method
from pace_core.methods._prompt_tokens import PromptParams, PromptTokens, prompt, uniform_tokens


class Params(PromptParams):
    """[class token; P_i; patches] into block i."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the prompts' entries dropped in training."""


def adapt(model: VisionTransformer, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone; each block's prompts stand where the last block's stood."""
    freeze(model, rng)
    for block in model.blocks:
        tokens = uniform_tokens(model, params.prompts, rng)
        prompt(block, block, PromptTokens(tokens, model.num_prefix_tokens, params.dropout))


METHOD = Method(
    name="vpt_deep",
    title="VPT-Deep",
    doc=__doc__,
    params=Params,
    paper="Jia et al., ECCV 2022, arXiv 2203.12119",
    fits=frozenset({"vit"}),
    starts_pretrained=False,
    published_counts=[
        ({"prompts": 5}, 46_080),  # SUN397 of the authors' example: 351,373 with the head
        ({"prompts": 10}, 92_160),
        ({"prompts": 50}, 460_800),
        ({"prompts": 100}, 921_600),  # EuroSAT and DMLab of the authors' examples: 929,290 and 926,214 with the head
    ],
    adapt=adapt,
    freezes_features=True,
)
