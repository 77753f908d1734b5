"""Gradient norms and FP-distance against what autograd and a second model say."""

from collections.abc import Iterator

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from pace_core.data import ImageSet
from pace_core.diagnostics import Diagnostics
from pace_core.methods import full, linear, lora_mul_vpt_add
from pace_core.network.residual import residual_layers

ARCHITECTURE = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2, "num_classes": 3}
IMAGES = ImageSet(torch.zeros(6, 8, 8, 3, dtype=torch.uint8), torch.tensor([0, 1, 2, 0, 1, 2]))
X = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()


def inputs(images: ImageSet) -> Iterator[tuple[Tensor, Tensor]]:
    for start in (0, 4):
        yield X[start : start + 4], images.labels[start : start + 4]


def adapted(module: object, **params: object) -> nn.Module:
    torch.manual_seed(0)
    model = VisionTransformer(**ARCHITECTURE)
    module.adapt(model, module.Params(**params), torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
    return model.double()


@torch.no_grad()
def moved(model: nn.Module) -> None:
    rng = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype)


def test_the_loss_gradient_is_autograds_over_the_merged_weights() -> None:
    model = adapted(lora_mul_vpt_add, rank=2)
    diagnostics = Diagnostics(model)
    moved(model)
    found = diagnostics.measure(IMAGES, inputs)
    plain = VisionTransformer(**ARCHITECTURE).double()
    state = {k: v for k, v in model.state_dict().items() if k in plain.state_dict()}
    for name, layer in residual_layers(model).items():
        state[f"{name}.weight"], state[f"{name}.bias"] = layer.merged()
    plain.load_state_dict(state)
    F.cross_entropy(plain(X), IMAGES.labels).backward()
    expected = sum(float(plain.get_submodule(n).weight.grad.norm()) for n in residual_layers(model))
    assert found["gradient_norm_loss"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("module", "params"), [(lora_mul_vpt_add, {"rank": 2}), (full, {})])
def test_the_distance_is_to_the_pretrained_network_under_the_same_head(module: object, params: dict[str, int]) -> None:
    model, pretrained = adapted(module, **params), adapted(module, **params)
    diagnostics = Diagnostics(model)
    moved(model)
    with torch.no_grad():
        for ours, theirs in zip(pretrained.get_submodule("head").parameters(), model.head.parameters(), strict=True):
            ours.copy_(theirs)
        expected = (model(X) - pretrained(X)).square().sum(1).mean()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert diagnostics.measure(IMAGES, inputs)["fp_distance"] == pytest.approx(float(expected), rel=1e-9)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_linear_probing_has_gradients_but_no_distance() -> None:
    model = adapted(linear)
    diagnostics = Diagnostics(model)
    moved(model)
    found = diagnostics.measure(IMAGES, inputs)
    assert found["fp_distance"] == 0
    assert found["gradient_norm_output"] > 0
    assert not any(p.requires_grad for n, p in model.named_parameters() if not n.startswith("head"))


def test_what_breaks_off_leaves_the_backbone_frozen() -> None:
    model = adapted(linear)

    def broken(images: ImageSet) -> Iterator[tuple[Tensor, Tensor]]:
        yield X, images.labels
        raise OSError("the images are gone")

    with pytest.raises(OSError, match="gone"):
        Diagnostics(model).measure(IMAGES, broken)
    assert not any(p.requires_grad for n, p in model.named_parameters() if not n.startswith("head"))


def test_the_output_gradient_estimates_the_jacobians_norm() -> None:
    model = adapted(lora_mul_vpt_add, rank=2)
    moved(model)
    found = Diagnostics(model).measure(ImageSet(IMAGES.images.repeat(50, 1, 1, 1), IMAGES.labels.repeat(50)), many)
    layers = residual_layers(model)
    squares = dict.fromkeys(layers, 0.0)
    for layer in layers.values():
        layer.fixed = tuple(t.detach().requires_grad_() for t in layer.merged())  # type: ignore[assignment]
    for row in range(len(X)):
        for logit in model(X[row : row + 1])[0]:
            gradients = torch.autograd.grad(logit, [layer.fixed[0] for layer in layers.values()], retain_graph=True)
            for name, gradient in zip(layers, gradients, strict=True):
                squares[name] += float(gradient.square().sum()) / len(X)
    expected = sum(square**0.5 for square in squares.values())
    assert found["gradient_norm_output"] == pytest.approx(expected, rel=0.5)


def many(images: ImageSet) -> Iterator[tuple[Tensor, Tensor]]:
    yield X.repeat(50, 1, 1, 1), images.labels
