"""`pace_vit_mini`, the network that ships: a small ViT with 64-pixel input; `pretrain.py` makes its weights."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

NAME = "pace_vit_mini"
TITLE = "PACE ViT-mini/8, 64 pixels"
WEIGHTS = Path(str(files("pace_core.backbones") / "pace_vit_mini.safetensors"))

ARCHITECTURE: Mapping[str, Any] = {
    "img_size": 64,
    "patch_size": 8,
    "embed_dim": 128,
    "depth": 6,
    "num_heads": 4,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "class_token": True,
    "global_pool": "token",
}
"""Keyword arguments of timm's VisionTransformer: 1.22 M parameters, 0.16 GFLOP an image."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
