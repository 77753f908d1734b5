"""SwinV2's attention, made to call its qkv layer."""

import torch
from timm.models.swin_transformer_v2 import WindowAttention
from torch import nn


@torch.no_grad()
def join_biases(model: nn.Module) -> None:
    """Moves the biases of q and v into the qkv layer, in place, where a SwinV2 has them apart; its outputs stay.

    timm's attention multiplies by the weight of its qkv layer and adds these biases itself. It would never call an
    adapted layer in the place of qkv, so what such a layer trains would have no effect.
    """
    for attention in model.modules():
        if isinstance(attention, WindowAttention) and attention.q_bias is not None:
            biases = attention.q_bias, torch.zeros_like(attention.q_bias), attention.v_bias
            attention.qkv.bias = nn.Parameter(torch.cat(biases))
            attention.q_bias = attention.k_bias = attention.v_bias = None
