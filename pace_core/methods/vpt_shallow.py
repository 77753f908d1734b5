"""VPT-Shallow: prompts join the tokens before the first block and go through all of them."""

import torch
from timm.models.vision_transformer import VisionTransformer

from pace_core.methods._inject import freeze
from pace_core.methods._method import Method
from pace_core.methods._prompt_tokens import PromptParams, PromptTokens, prompt, uniform_tokens


class Params(PromptParams):
    """[class token; P; patches] into block 1."""


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
