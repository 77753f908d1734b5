"""VPT-Shallow: prompts join the tokens before the first block and go through all of them."""

import torch
from pydantic import Field
from timm.models.vision_transformer import VisionTransformer

from pace_core.methods._inject import freeze
from pace_core.methods._method import Method
from pace_core.methods._prompt_tokens import PromptTokens, prompt, uniform_tokens
from pace_core.spec import ParamsModel


class Params(ParamsModel):
    """[class token; P; patches] into block 1."""

    prompts: int = Field(default=10, ge=1)
    """Number of prompts; the paper tries 1, 5, 10, 50, 100 and 200."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the prompts' entries dropped in training."""


def adapt(model: VisionTransformer, params: Params, rng: torch.Generator) -> None:
    """Freezes the backbone; the prompts leave after the last block, so that the features keep their shape."""
    freeze(model, rng)
    tokens = uniform_tokens(model, params.prompts, rng)
    prompt(model.blocks[0], model.blocks[-1], PromptTokens(tokens, model.num_prefix_tokens, params.dropout))


METHOD = Method(
    name="vpt_shallow",
    title="VPT-Shallow",
    doc=__doc__,
    params=Params,
    paper="Jia et al., ECCV 2022, arXiv 2203.12119",
    fits=frozenset({"vit"}),
    starts_pretrained=False,
    published_counts=[
        ({"prompts": 10}, 7_680),
        ({"prompts": 100}, 76_800),  # 0.08 M
    ],
    adapt=adapt,
    freezes_features=True,
)
