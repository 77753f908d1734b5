"""Small networks under a regularizer, and what a step does to them."""

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pace_core import methods, regularizers
from pace_core.methods import Method
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, Declaration, Regularizer, StepContext
from pace_core.training.optimizer import trainable
from tests.networks import stirred, tiny_vit

METHODS, REGULARIZERS = methods.entries(), regularizers.entries()
PAIRS = [
    (m, r)
    for m, method in METHODS.items()
    for r, regularizer in REGULARIZERS.items()
    if "vit" in method.fits and regularizer.needs <= method.gives
]
NOISED = [name for name, declared in REGULARIZERS.items() if "delta" in declared.needs]
ABLATIONS = [
    {"noise": "additive"},
    {"noise": "dropout"},
    {"perturb": "output"},
    {"noise": "dropout", "perturb": "output"},
    {"depth": "constant"},
    {"depth": "increasing"},
]
HEAVY = {"lambda": 0.7, "lambda_gradient": 0.7}
OFF = {"sigma": 0.0, "lambda": 0.0, "lambda_gradient": 0.0, "rho": 0.0}
SIZE = 6
EXACT = partial(torch.testing.assert_close, rtol=0, atol=1e-12)


def batch() -> Batch:
    rng = torch.Generator().manual_seed(5)
    images = torch.randn(SIZE, 3, 16, 16, generator=rng, dtype=torch.float64)
    return Batch(images, torch.arange(SIZE) % 5, torch.randperm(20, generator=rng)[:SIZE])


def pretrained(drop_path: float = 0.0) -> VisionTransformer:
    return tiny_vit(depth=3, drop_path_rate=drop_path)


def started(method: Method[Any], drop_path: float = 0.0) -> nn.Module:
    """As a run begins."""
    model = pretrained(drop_path)
    params = {"rank": 3} if "rank" in method.params.model_fields else {}
    method.adapt(model, method.params(**params), torch.Generator().manual_seed(0))
    return model.double().train()


def network(method: Method[Any], drop_path: float = 0.0) -> nn.Module:
    return stirred(started(method, drop_path))


def build(
    declared: Declaration[Any], model: nn.Module, micro_batch: int | None = None, **params: object
) -> Regularizer:
    context = StepContext(model, Pass(SeededSource(7)), micro_batch, nullcontext, train_samples=20, num_classes=5)
    return declared.make(declared.params(**params), context)


def known(name: str, params: dict[str, float]) -> dict[str, float]:
    """Those of the parameters that the regularizer has."""
    fields = REGULARIZERS[name].params.model_fields
    return {key: value for key, value in params.items() if key in {f.alias or n for n, f in fields.items()}}


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in trainable(model).items() if p.grad is not None}


def gradients_of(name: str, model: nn.Module, step: int = 1, **params: object) -> dict[str, Tensor]:
    model.zero_grad()
    build(REGULARIZERS[name], model, **params).step(batch(), step)
    return gradients(model)
