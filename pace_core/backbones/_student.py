"""The student: a small timm vision transformer, how it starts, and its losses against the teacher."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from pace_core.backbones._teacher import TARGETS
from pace_core.backbones.mini import ARCHITECTURE, MEAN, STD

GRID = 8
TEMPERATURE = 2.0


def build_student() -> VisionTransformer:
    """Builds the network with 2-D sin/cos positions and mimetic attention (Trockman and Kolter, arXiv 2305.09828)."""
    student = VisionTransformer(**ARCHITECTURE, num_classes=0)
    with torch.no_grad():
        assert student.pos_embed is not None
        student.pos_embed[0, 1:] = build_sincos2d_pos_embed([GRID, GRID], student.embed_dim)
        for block in student.blocks:
            _mimetic(block.attn, student.embed_dim)  # pyright: ignore[reportArgumentType]
    return student


def _mimetic(attention: Any, width: int) -> None:
    """Lets every head look at similar tokens and at itself, and the output undo a part of its input."""
    head = width // attention.num_heads
    for number in range(attention.num_heads):
        rows = slice(number * head, (number + 1) * head)
        left, scale, right = _svd_near_identity(0.7, 0.7, width)
        attention.qkv.weight[:width][rows] = (left[:, :head] * scale[:head].sqrt()).T
        attention.qkv.weight[width : 2 * width][rows] = scale[:head].sqrt()[:, None] * right[:head]
    left, scale, right = _svd_near_identity(0.4, -0.4, width)
    attention.qkv.weight[2 * width :] = scale.sqrt()[:, None] * right
    attention.proj.weight[:] = left * scale.sqrt()


def _svd_near_identity(noise: float, identity: float, width: int) -> tuple[Tensor, Tensor, Tensor]:
    left, scale, right = torch.linalg.svd(
        noise * torch.randn(width, width) / math.sqrt(width) + identity * torch.eye(width)
    )
    return left, scale, right


class Heads(nn.Module):
    """Linear maps from the student's tokens to the teacher's outputs; thrown away in the end."""

    def __init__(self) -> None:
        super().__init__()
        width: int = ARCHITECTURE["embed_dim"]
        self.deep = nn.Linear(width, TARGETS["deep"][0])
        self.shallow = nn.Linear(width, 4 * TARGETS["shallow"][0])
        self.layout = nn.Linear(width, math.prod(TARGETS["deep_layout"]))
        self.pooled = nn.Linear(width, TARGETS["pooled"][0])
        self.logits = nn.Linear(width, TARGETS["logits"][0])

    def forward(self, tokens: Tensor, kept: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Returns the weighted sum of the losses of tokens [batch, 1 + k, width]; kept [batch, k]: the patches left.

        The class token, which fine-tuning reads, is held mostly to the coarse layout of the deep maps: of the teacher's
        outputs a linear probe gets most out of that.
        """
        first, patches = tokens[:, 0], tokens[:, 1:]
        said = F.log_softmax(self.logits(first) / TEMPERATURE, 1)
        wanted = F.log_softmax(targets["logits"] / TEMPERATURE, 1)
        return (
            4 * F.smooth_l1_loss(self.deep(patches), _of_patches(targets["deep"], 1, kept))
            + 2 * F.smooth_l1_loss(self.shallow(patches), _of_patches(targets["shallow"], 2, kept))
            + 8 * F.smooth_l1_loss(self.layout(first), targets["deep_layout"].flatten(1))
            + 1 * F.smooth_l1_loss(self.pooled(first), targets["pooled"])
            + 0.25 * TEMPERATURE**2 * F.kl_div(said, wanted, reduction="batchmean", log_target=True)
        )


def _of_patches(maps: Tensor, side: int, kept: Tensor) -> Tensor:
    """The side x side cells of maps [batch, channels, GRID * side, GRID * side] that lie in each kept patch."""
    cells = maps.unflatten(2, (GRID, side)).unflatten(4, (GRID, side))
    rows = cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    return rows.gather(1, kept[..., None].expand(-1, -1, rows.shape[2]))


def encode(student: VisionTransformer, images: Tensor, kept: Tensor) -> Tensor:
    """Tokens after the final norm, [batch, 1 + k, width], of kept patches of images [batch, 3, 64, 64] in 0..255."""
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (MEAN, STD))
    patches = student.patch_embed((images - mean) / std)
    assert student.pos_embed is not None
    assert student.cls_token is not None
    patches = patches + student.pos_embed[:, 1:]
    patches = patches.gather(1, kept[..., None].expand(-1, -1, student.embed_dim))
    first = (student.cls_token + student.pos_embed[:, :1]).expand(len(images), -1, -1)
    return student.norm(student.blocks(torch.cat([first, patches], 1)))


def save_student(student: VisionTransformer, path: Path, made: Mapping[str, str]) -> None:
    """Writes the weights in half precision under timm's names, all or nothing, with what a reader must know of them."""
    architecture = {"class": "timm.models.vision_transformer.VisionTransformer", **ARCHITECTURE, "num_classes": 0}
    metadata = {
        "format": "pt",
        "architecture": json.dumps(architecture),
        "normalization": json.dumps({"mean": MEAN, "std": STD}),
        "licence": "Apache-2.0; see NOTICE for the teacher and the photographs",
        **made,
    }
    state = {name: tensor.half().contiguous() for name, tensor in student.state_dict().items()}
    unfinished = path.with_name(path.name + ".part")
    save_file(state, unfinished, metadata)
    os.replace(unfinished, path)
