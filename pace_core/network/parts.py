"""Names of the parts of a transformer: its blocks, their linear layers, and the classification head.

Three families of networks are known: ViT and Swin, of timm or `transformers`, and the networks for text of
`transformers`: sequence classifiers built as BERT, RoBERTa or ModernBERT, and causal language models built as Llama.
"""

import re
from typing import Literal

import torch
from torch import nn

from pace_core.network.residual import Noised, ResidualLinear
from pace_core.spec import RunError

Family = Literal["vit", "swin", "text"]

_BLOCK = re.compile(
    r"^(?:(?:(?:swin\.encoder\.)?layers\.\d+\.)?blocks"
    r"|(?!data2vec)\w+\.encoder\.layer|(?:vit|deit|beit|ijepa)\.layers|distilbert\.transformer\.layer|model\.layers)"
    r"\.\d+(?=\.)"
)
_PATCH_MERGING = re.compile(r"^((?:swin\.encoder\.)?layers)\.(\d+)\.downsample\.")
_POSITION_BIAS = ".cpb_mlp."
HEADS = ("head", "head.fc", "classifier", "classifier.out_proj")
"""Layers that compute the logits of a task's classes. They are new, so a method trains them."""
LANGUAGE_HEAD = "lm_head"
"""Layer that computes the logits of a vocabulary. It is pretrained, so a method leaves it as it is."""


def blocks_of(model: nn.Module) -> list[str]:
    """Returns the names of the blocks in order of depth."""
    return list(dict.fromkeys(block for name, _ in model.named_modules() if (block := block_of(name))))


def block_of(name: str) -> str | None:
    """Returns the block that a layer belongs to, such as `blocks.3`; None for a layer outside the blocks.

    A Swin's block is named `layers.2.blocks.5`, a RoBERTa's `roberta.encoder.layer.3`, a ViT's of `transformers`
    `vit.layers.3`. The patch merging between two stages of a Swin counts as part of the second one's
    first block, as in PACE's code.
    """
    if match := _BLOCK.match(name):
        return match.group()
    if match := _PATCH_MERGING.match(name):
        layers, stage = match.groups()
        later = 0 if layers == "layers" else 1  # timm has it at the beginning of a stage, transformers at the end
        return f"{layers}.{int(stage) + later}.blocks.0"
    return None


def network_family(model: nn.Module) -> Family:
    """Tells the family of a network by the names of its blocks. Raises RunError `spec_invalid` for an unknown one."""
    blocks = blocks_of(model)
    if not blocks:
        known = "a ViT or Swin of timm or transformers (DeiT, BEiT, DINOv2 too), or a BERT or RoBERTa classifier"
        raise RunError("spec_invalid", f"backbone: {type(model).__name__} has no blocks of a known kind; use {known}")
    if ".blocks." in blocks[0]:
        return "swin"
    images = blocks[0].startswith("blocks.") or getattr(model, "main_input_name", None) == "pixel_values"
    return "vit" if images else "text"


def block_linears(model: nn.Module) -> dict[str, nn.Module]:
    """Returns every linear layer that tokens go through in the blocks, in order of depth.

    A Swin's patch merging and layers that are adapted already are included.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | ResidualLinear) and block_of(name) and takes_tokens(name)
    }


def takes_tokens(name: str) -> bool:
    """Returns False for a layer that computes SwinV2's position bias: it sees a table of distances, not the image.

    Its output has no rows of samples, so no noise can differ between them.
    """
    return _POSITION_BIAS not in name


def head_name(model: nn.Module) -> str:
    """Returns the name of the layer that computes the logits.

    This is `head` in a ViT, `head.fc` in a Swin, `classifier` or `classifier.out_proj` in a text classifier, `lm_head`
    in a language model. Raises RunError `spec_invalid` for a network without one.
    """
    modules = dict(model.named_modules())
    for name in (*HEADS, LANGUAGE_HEAD):
        if isinstance(modules.get(name), nn.Linear | Noised):
            return name
    message = f"backbone: {type(model).__name__} has no classifier; give it one with your number of classes"
    raise RunError("spec_invalid", message)


def head_prefix(model: nn.Module) -> str:
    """Returns the prefix of the names of the classifier's parameters; a RoBERTa's classifier has two layers."""
    return f"{head_name(model).removesuffix('.out_proj')}."


def has_new_head(model: nn.Module) -> bool:
    """Tells whether the head is of the task and trained from its start; a language model's is pretrained."""
    return head_name(model) != LANGUAGE_HEAD


@torch.no_grad()
def start_head(model: nn.Module, how: Literal["normal", "timm", "zero"], rng: torch.Generator) -> None:
    """Starts the layer of the logits as the spec says; normal: as the method left it. Leaves a pretrained one alone."""
    if not has_new_head(model):
        return
    head = model.get_submodule(head_name(model))
    bound = head.weight.shape[1] ** -0.5  # of torch's own start, which timm's reset_classifier leaves
    for parameter in (head.weight, head.bias):
        if parameter is not None and how == "zero":
            parameter.zero_()
        elif parameter is not None and how == "timm":
            parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=rng))
