"""What our step is measured beside: PACE as its formulas stand in the paper, and LoRA by HF `peft`."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import timm
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

RANK, DROP_PATH, CLASSES = 10, 0.1, 100
Autocast = Callable[[], AbstractContextManager[Any]]


class PeerStep:
    """Base class for a plain training step with AdamW on one batch; a subclass says what the loss is."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, autocast: Autocast) -> None:
        self.model, self.images, self.labels, self.autocast = model.to(images.device).train(), images, labels, autocast
        self.optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)

    def loss(self) -> Tensor:
        with self.autocast():
            return F.cross_entropy(self.model(self.images), self.labels)

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        self.optimizer.step()


class PeftStep(PeerStep):
    """LoRA on all linear layers of the blocks by HF `peft`, of the same rank."""

    def __init__(self, model: str, images: Tensor, labels: Tensor, autocast: Autocast) -> None:
        network = timm.create_model(model, num_classes=CLASSES, drop_path_rate=DROP_PATH)
        targets = r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.fc[12])"
        config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=targets, modules_to_save=["head"])
        super().__init__(get_peft_model(network, config), images, labels, autocast)


class PaperStep(PeerStep):
    """LoRA_mul+VPT_add as PACE's paper writes it (section 3.1, eq. 11 and 12): with noise, both draws of every sample
    go through the whole network, and a noised layer is two products; without, its weights are merged in each step.
    """

    def __init__(self, model: str, images: Tensor, labels: Tensor, autocast: Autocast, *, noised: bool) -> None:
        network: Any = timm.create_model(model, num_classes=CLASSES, drop_path_rate=DROP_PATH)
        network.requires_grad_(False)
        network.head.requires_grad_(True)
        blocks = len(network.blocks)
        for number, block in enumerate(network.blocks):
            sigma = (blocks - number) / blocks if noised and number else 0.0
            for owner, name in ((block.attn, "qkv"), (block.attn, "proj"), (block.mlp, "fc1"), (block.mlp, "fc2")):
                setattr(owner, name, PaperLinear(getattr(owner, name), sigma))
        self.noised = noised
        super().__init__(network, images, labels, autocast)

    def loss(self) -> Tensor:
        if not self.noised:
            return super().loss()
        with self.autocast():
            first, second = self.model(self.images.repeat(2, 1, 1, 1)).float().chunk(2)
        return F.cross_entropy(first, self.labels) + 0.5 * (first - second).square().sum(1).mean()


class PaperLinear(nn.Module):
    """W0 x + b0 + z ⊙ ((W0 ⊙ B A) x + b0 ⊙ beta + W0 P q), one z a row and channel."""

    def __init__(self, base: nn.Linear, sigma: float) -> None:
        super().__init__()
        self.base, self.sigma = base, sigma
        self.a = nn.Parameter(0.1 * torch.randn(RANK, base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, RANK))
        self.beta = nn.Parameter(torch.zeros(base.out_features))
        self.p, self.q = nn.Parameter(torch.zeros(base.in_features, RANK)), nn.Parameter(0.1 * torch.randn(RANK, 1))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.base.weight * (self.b @ self.a)
        bias = self.base.bias * self.beta + (self.base.weight @ (self.p @ self.q)).squeeze(1)
        if not self.sigma:
            return F.linear(x, self.base.weight + weight, self.base.bias + bias)
        delta = F.linear(x, weight, bias)
        z = 1 + self.sigma * torch.randn(len(x), 1, delta.shape[-1], dtype=delta.dtype, device=delta.device)
        return self.base(x) + z * delta
