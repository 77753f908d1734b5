"""Every regularizer beside the noised ones is held to its formula."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pace_core.network.residual import residual_layers
from pace_core.regularizers.delta import attention
from pace_core.training.optimizer import trainable
from tests.conformance.regularized import (
    EXACT,
    METHODS,
    REGULARIZERS,
    SIZE,
    batch,
    build,
    gradients,
    gradients_of,
    network,
    pretrained,
    started,
)
from tests.networks import stirred


@pytest.mark.parametrize("method", ["lora_add", "full", "vpt_deep"])
def test_fpa_is_the_distance_to_the_pretrained_network_under_the_same_head(method: str) -> None:
    model = started(METHODS[method])
    regularized = build(REGULARIZERS["fpa"], model, **{"lambda": 2.0})
    stirred(model)
    done = regularized.step(batch(), 0)
    other = pretrained().double().eval()
    with torch.no_grad():
        other.head.load_state_dict(model.head.state_dict())
        f, f0, labels = model(batch().images), other(batch().images), batch().labels
    distance = (f - f0).square().sum(1).mean()
    assert distance > 0
    EXACT(done.terms["loss_alignment"], distance)
    EXACT(done.terms["loss"], F.cross_entropy(f, labels) + 2 * distance)


def test_the_gradient_penalty_is_the_squared_norm_of_the_plain_gradient() -> None:
    model = network(METHODS["lora_mul_vpt_add"])
    expected = sum(grad.square().sum() for grad in gradients_of("none", model).values())
    done = build(REGULARIZERS["gradient_penalty"], model).step(batch(), 1)
    EXACT(done.terms["loss_gradient"], expected)
    EXACT(done.terms["loss"], done.terms["loss_classification"] + 0.01 * expected)


def test_sam_takes_the_gradient_rho_further_up_the_loss_and_leaves_the_weights_where_they_are() -> None:
    model = network(METHODS["lora_add"])
    before = {name: p.detach().clone() for name, p in trainable(model).items()}
    ours = gradients_of("sam", model, rho=0.3)
    assert all(torch.equal(p, before[name]) for name, p in trainable(model).items())
    up = copy.deepcopy(model)
    plain = gradients_of("none", up)
    length = sum(grad.square().sum() for grad in plain.values()).sqrt()
    with torch.no_grad():
        for name, parameter in trainable(up).items():
            parameter += 0.3 * plain[name] / length
    for name, grad in gradients_of("none", up).items():
        EXACT(ours[name], grad)


@pytest.mark.parametrize(("regularizer", "slope"), [("l1", torch.sign), ("l2_sp", lambda change: 2 * change)])
def test_penalties_of_adapters_are_on_the_change_of_weights_and_biases(regularizer: str, slope) -> None:
    model = network(METHODS["lora_add"])
    plain = gradients_of("none", model)
    ours = gradients_of(regularizer, model, **{"lambda": 0.7})
    for name, layer in residual_layers(model).items():
        a, b = layer.low_rank.A[0], layer.low_rank.B[0]
        on_weight = 0.7 * slope(b @ a)
        expected = {"low_rank.B.0": on_weight @ a.T, "low_rank.A.0": b.T @ on_weight, "beta": 0.7 * slope(layer.beta)}
        for parameter, extra in expected.items():
            EXACT(ours[f"{name}.{parameter}"] - plain[f"{name}.{parameter}"], extra)
    EXACT(ours["head.weight"], plain["head.weight"])


@pytest.mark.parametrize(("regularizer", "slope"), [("l1", torch.sign), ("l2_sp", lambda change: 2 * change)])
def test_penalties_of_weights_trained_in_place_are_on_the_way_from_their_start(regularizer: str, slope) -> None:
    model = started(METHODS["full"])
    begin = {name: p.detach().clone() for name, p in trainable(model).items()}
    regularized = build(REGULARIZERS[regularizer], model, **{"lambda": 0.7})
    stirred(model)
    plain = gradients_of("none", model)
    model.zero_grad()
    regularized.step(batch(), 1)
    for name, grad in gradients(model).items():
        change = torch.zeros_like(grad) if name.startswith("head.") else trainable(model)[name] - begin[name]
        EXACT(grad - plain[name], 0.7 * slope(change))


def test_delta_attends_to_the_channels_whose_silence_would_cost_most() -> None:
    maps = torch.tensor([[[1.0, 2.0], [1.0, 2.0]], [[1.0, 2.0], [0.0, 0.0]]]).double()
    slopes = torch.tensor([[[-1.0, 0.5], [-1.0, -0.5]], [[-1.0, -0.5], [7.0, 7.0]]]).double()
    # first sample: rises 2 and 0, which are ± 1/√2 std, a fifth of it: ± 0.1414; second: 1 and 1
    high = 2 / (1 + torch.tensor(-0.2 * 2**0.5).exp())
    EXACT(attention(maps, slopes)[0], torch.tensor([high, 2 - high]).double(), atol=1e-7)
    EXACT(attention(maps, slopes)[1], torch.ones(2).double())


@pytest.mark.parametrize("method", ["lora_add", "full", "vpt_shallow"])
def test_delta_is_the_distance_of_the_blocks_outputs_weighted_by_attention(method: str) -> None:
    model = started(METHODS[method])
    regularized = build(REGULARIZERS["delta"], model)
    stirred(model)
    done = regularized.step(batch(), 0)
    other = pretrained().double().eval()
    other.head.load_state_dict(model.head.state_dict())
    ours, theirs = (outputs_of_blocks(network) for network in (model, other))
    with torch.enable_grad():
        loss = F.cross_entropy(other(batch().images), batch().labels, reduction="sum")
        slopes = torch.autograd.grad(loss, theirs)
        model(batch().images)
    total = torch.zeros(()).double()
    for a, b, slope in zip(ours, theirs, slopes, strict=True):
        a = torch.cat([a[:, :1], a[:, -4:]], dim=1)  # class token and patches, without prompts
        total += (attention(b, slope) * (a - b).square().mean(1)).sum() / SIZE
    assert total > 0
    EXACT(done.terms["loss_features"], total)


def outputs_of_blocks(model: nn.Module) -> list[Tensor]:
    found: list[Tensor] = []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, _args, output: found.append(output))
    return found


class Rows(nn.Module):
    """Two trained rows and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2, bias=False)
        self.head = nn.Linear(2, 5)


@pytest.mark.parametrize("kappa", [1.0, 0.25, 0.0])
def test_ftp_shrinks_rows_to_a_radius_that_follows_the_gradient_of_all_rows(kappa: float) -> None:
    model = Rows().double()
    start = model.body.weight.detach().clone()
    ftp = build(REGULARIZERS["ftp"], model, kappa=kappa)
    rng = torch.Generator().manual_seed(1)
    change = torch.tensor([[0.3, -0.1], [0.0, 0.004]]).double()  # the second row soon lies within the radius
    gradients = [sign * torch.rand(2, 2, generator=rng, dtype=torch.float64) for sign in (0, -1, -1, 1, 1, -1)]
    ours: list[Tensor] = []
    for gradient in gradients:
        model.body.weight.grad = gradient * change.sign()  # along the change: positive asks for less of it
        with torch.no_grad():
            model.body.weight.copy_(start + change)
        ftp.after_update()
        ours.append(model.body.weight.detach() - start)
    expected = projected(change, [gradient * change.sign() for gradient in gradients], kappa)
    assert not torch.equal(expected[1], expected[-1])
    for found, wanted in zip(ours, expected, strict=True):
        EXACT(found, wanted)


def projected(change: Tensor, gradients: list[Tensor], kappa: float) -> list[Tensor]:
    """The changes of one tensor after each update of FTP's published code, which is asked for the same every time."""
    radius, mean, square, results = 1e-8, 0.0, 0.0, list[Tensor]()
    norms = change.abs().sum(1, keepdim=True) + 1e-8
    for update, gradient in enumerate(gradients, start=1):
        if update > 1:
            slope = float((gradient * change / norms).sum())
            slope *= kappa if slope > 0 else 1
            mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
            radius -= 0.01 * mean / (1 - 0.9**update) / ((square / (1 - 0.999**update)) ** 0.5 + 1e-8)
            radius = min(max(radius, 1e-8), float(norms.max()))
        results.append((radius / norms).clamp(max=1) * change)
    return results


def test_pace_fast_compares_with_the_logits_of_the_epoch_before() -> None:
    model = network(METHODS["lora_add"])
    fast = build(REGULARIZERS["pace_fast"], model)
    first = fast.step(batch(), 0)
    expected = first.logits.square().sum() / SIZE  # the table begins at zero
    torch.testing.assert_close(first.terms["loss_consistency"], expected)
    second = fast.step(batch(), 1)
    torch.testing.assert_close(second.terms["loss_consistency"], (second.logits - first.logits).square().sum() / SIZE)
