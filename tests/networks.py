"""The tiny networks that the core's tests adapt, the same at every call, and images for them."""

from typing import Any, TypeVar

import timm
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transformers import (
    RobertaConfig,
    RobertaForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
)

from pace_core.backbones._swin_v2 import join_biases
from pace_core.training.optimizer import trainable

Network = TypeVar("Network", bound=nn.Module)


def tiny_vit(**settings: object) -> VisionTransformer:
    """Two blocks of width 24, images of 16 pixels and five classes, where nothing else is said."""
    torch.manual_seed(1)
    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5}
    return _with_biases(VisionTransformer(**{**sizes, **settings}))


def tiny_swin() -> SwinTransformer:
    """Images of 32 pixels, stages of one and two blocks, five classes."""
    torch.manual_seed(1)
    sizes = {"img_size": 32, "patch_size": 4, "window_size": 4, "embed_dim": 16, "depths": (1, 2), "num_heads": (2, 4)}
    return _with_biases(SwinTransformer(**sizes, num_classes=5, drop_path_rate=0.0))


def tiny_timm(name: str, **settings: Any) -> Any:
    """A network of timm's by its name, without its weights: what is odd about its blocks stays, their sizes shrink."""
    torch.manual_seed(1)
    swin = {"img_size": 32, "patch_size": 4, "window_size": 4, "embed_dim": 16, "depths": (1, 2), "num_heads": (2, 4)}
    vit = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    model = timm.create_model(name, **{**(swin if name.startswith("swin") else vit), "num_classes": 5, **settings})
    join_biases(model)
    return _with_biases(model)


def tiny_roberta(**settings: object) -> RobertaForSequenceClassification:
    """Two blocks of width 24, forty tokens and five labels, where nothing else is said."""
    torch.manual_seed(1)
    sizes = {
        "vocab_size": 40,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 48,
        "max_position_embeddings": 12,
        "type_vocab_size": 1,
        "num_labels": 5,
    }
    return _with_biases(RobertaForSequenceClassification(RobertaConfig(**{**sizes, **settings})))


def tiny_hf_vit(**settings: object) -> ViTForImageClassification:
    """The ViT of `transformers`: two blocks of width 24, images of 16 pixels and five classes."""
    torch.manual_seed(1)
    sizes = {
        "image_size": 16,
        "patch_size": 8,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 48,
        "num_labels": 5,
    }
    return _with_biases(ViTForImageClassification(ViTConfig(**{**sizes, **settings})))


@torch.no_grad()
def _with_biases(model: Network) -> Network:
    """Biases as a pretrained network has them; a new one's are zero, which hides what scales them."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(std=0.1)
        elif not parameter.any():
            parameter.fill_(0.5)  # the norms behind a SwinV2's branches begin at zero, which would cut these off
    return model


def images(count: int = 3, size: int = 16) -> Tensor:
    """[count, 3, size, size] in float64."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@torch.no_grad()
def stirred(model: nn.Module, by: float = 0.1) -> nn.Module:
    """The model with its trained parameters moved away from their start."""
    rng = torch.Generator().manual_seed(3)
    for parameter in trainable(model).values():
        parameter.add_(by * torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype))
    return model
