"""Every regularizer in the folder keeps what a regularizer promises, with every method it can work with."""

import copy
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from timm.layers.drop import DropPath
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from pace_core import methods, regularizers
from pace_core.methods import Method
from pace_core.network.parts import head_name
from pace_core.network.residual import residual_layers
from pace_core.network.roles import put_before
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, Declaration, Regularizer, StepContext
from pace_core.regularizers._adapter_noise import SharedDropPath, depth_sigmas, sigma_by_layer
from pace_core.regularizers.delta import attention
from pace_core.training.optimizer import trainable
from tests.networks import images, stirred, tiny_swin, tiny_vit

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


@pytest.mark.parametrize(("method", "regularizer"), PAIRS)
def test_steps_of_every_pair_that_can_work_lower_the_loss(method: str, regularizer: str) -> None:
    model = network(METHODS[method])
    regularized = build(REGULARIZERS[regularizer], model)
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=1e-2)
    seen: list[dict[str, float]] = []
    for _ in range(4):  # the same step again and again, so that the draws stay and only the weights move
        optimizer.zero_grad()
        seen.append({name: float(value) for name, value in regularized.step(batch(), 1).terms.items()})
        optimizer.step()
        regularized.after_update()
    # a penalty that begins at zero can only grow; one that begins large comes before the classification
    assert any(seen[-1][name] < seen[0][name] for name in ("loss", "loss_classification"))


@pytest.mark.parametrize("micro_batch", [1, 4])
@pytest.mark.parametrize(
    ("regularizer", "drop_path"), [(name, 0.0) for name in REGULARIZERS] + [(name, 0.5) for name in NOISED]
)
def test_micro_batches_give_the_gradient_of_the_whole_batch(
    regularizer: str, micro_batch: int, drop_path: float
) -> None:
    found = []
    for micro in (None, micro_batch):
        model = started(METHODS["lora_mul_vpt_add"], drop_path)
        built = build(REGULARIZERS[regularizer], model, micro, **known(regularizer, HEAVY))
        stirred(model)
        found.append((built.step(batch(), 0), gradients(model)))
    (whole, whole_grads), (parts, parts_grads) = found
    assert whole.terms.keys() == parts.terms.keys()
    for term in whole.terms:
        EXACT(parts.terms[term], whole.terms[term])
    EXACT(parts.logits, whole.logits)
    for name, grad in whole_grads.items():
        EXACT(parts_grads[name], grad)


# sam's gradient is that of a loss elsewhere, by design
@pytest.mark.parametrize(
    ("method", "regularizer"), [(m, r) for m, r in PAIRS if m in ("lora_mul_vpt_add", "full") and r != "sam"]
)
def test_the_gradient_is_that_of_the_loss(method: str, regularizer: str) -> None:
    """Central differences in float64 along a random direction: of second order too, for the gradient penalties."""
    slope_is_that_of_the_loss(started(METHODS[method], drop_path=0.3), regularizer, **known(regularizer, HEAVY))


@pytest.mark.parametrize("params", [*ABLATIONS, {"networks": 3}], ids=str)
def test_the_gradient_of_every_ablation_is_that_of_its_loss(params: dict[str, object]) -> None:
    slope_is_that_of_the_loss(started(METHODS["lora_mul_vpt_add"], drop_path=0.3), "pace", **params)


def slope_is_that_of_the_loss(model: nn.Module, regularizer: str, **params: object) -> None:
    regularized = build(REGULARIZERS[regularizer], model, **params)
    stirred(model)
    state = {key: value.clone() for key, value in regularized.state_dict().items()}

    def loss() -> float:
        torch.manual_seed(0)  # of timm's drop path
        regularized.load_state_dict(state)
        return float(regularized.step(batch(), 0).terms["loss"])

    loss()
    # delta's attention depends on the head, and is no function to be differentiated
    along = [n for n in trainable(model) if not (regularizer == "delta" and n.startswith(head_name(model)))]
    rng = torch.Generator().manual_seed(9)
    direction = {n: torch.randn(trainable(model)[n].shape, generator=rng, dtype=torch.float64) for n in along}
    slope = sum(float((gradients(model)[n] * d).sum()) for n, d in direction.items())
    ends, eps = [], 1e-6
    for sign in (1, -1):
        with torch.no_grad():
            for name in along:
                trainable(model)[name].add_(sign * eps * direction[name])
        ends.append(loss())
        with torch.no_grad():
            for name in along:
                trainable(model)[name].sub_(sign * eps * direction[name])
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * eps), rel=1e-5)


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_without_noise_and_weight_it_is_plain_training(regularizer: str) -> None:
    off = known(regularizer, OFF)
    ours = gradients_of(regularizer, network(METHODS["lora_add"]), **off)  # at step 1 lazy_half takes the whole batch
    for name, grad in gradients_of("none", network(METHODS["lora_add"])).items():
        EXACT(ours[name], grad)


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_an_interrupted_run_goes_on_to_the_same_bits(regularizer: str) -> None:
    def begun() -> tuple[nn.Module, Regularizer]:
        model = started(METHODS["lora_mul_vpt_add"])
        return model, build(REGULARIZERS[regularizer], model)

    def go_on(model: nn.Module, regularized: Regularizer, steps: range) -> None:
        for step in steps:
            model.zero_grad()
            regularized.step(batch(), step)
            with torch.no_grad():
                for parameter in trainable(model).values():
                    parameter -= 0.1 * parameter.grad
            regularized.after_update()

    whole, first, second = begun(), begun(), begun()
    go_on(*whole, range(4))
    go_on(*first, range(2))
    with torch.no_grad():
        for name, parameter in trainable(second[0]).items():
            parameter.copy_(trainable(first[0])[name])
    second[1].load_state_dict({key: value.clone() for key, value in first[1].state_dict().items()})
    go_on(*second, range(2, 4))
    for name, parameter in trainable(whole[0]).items():
        assert torch.equal(parameter, trainable(second[0])[name])
    for key, value in whole[1].state_dict().items():
        assert torch.equal(value, second[1].state_dict()[key])


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_a_step_in_bfloat16_has_float32_gradients(regularizer: str) -> None:
    model = network(METHODS["lora_mul_vpt_add"]).float()
    autocast = partial(torch.autocast, "cpu", torch.bfloat16)
    context = StepContext(model, Pass(SeededSource(7)), None, autocast, train_samples=20, num_classes=5)
    declared, asked = REGULARIZERS[regularizer], batch()
    done = declared.make(declared.params(), context).step(Batch(asked.images.float(), asked.labels, asked.index), 0)
    assert torch.isfinite(done.terms["loss"])
    assert all(grad.dtype == torch.float32 and grad.isfinite().all() for grad in gradients(model).values())


# --- noise: kinds, places, depths, number of draws


def noised_layer(**params: object) -> tuple[nn.Module, Pass, Tensor]:
    model = network(METHODS["lora_add"])
    regularized = build(REGULARIZERS["noise"], model, sigma=1.2, **params)
    layer = model.get_submodule("blocks.1.mlp.fc1")
    return layer, regularized.context.current, torch.randn(SIZE, 5, 24, dtype=torch.float64)


@pytest.mark.parametrize("params", [{}, *ABLATIONS], ids=str)
def test_noise_falls_where_it_is_said_to(params: dict[str, object]) -> None:
    layer, current, x = noised_layer(**params)
    with current.noised(0, SIZE, 1, slice(0, SIZE)):
        out = layer(x)
        eps = current.normal(layer.name, 96, x).unsqueeze(1)
        z = layer.noise(layer.delta(x))
    base, delta = layer.base(x), layer.delta(x)
    if params.get("noise") != "dropout":
        EXACT(z, 1 + layer.sigma * eps)
    expected = base + z * delta
    if params.get("noise") == "additive":
        expected = base + delta + layer.sigma * eps
    elif params.get("perturb") == "output":
        expected = z * (base + delta)
    EXACT(out, expected)


def test_dropout_noise_keeps_or_drops_a_channel_for_all_tokens_and_has_the_mean_and_std_of_the_gaussian() -> None:
    layer, current, x = noised_layer(noise="dropout", depth="constant")
    kept = 1 / (1 + 1.2**2)
    draws = []
    for step in range(200):
        with current.noised(step, SIZE, 1, slice(0, SIZE)):
            draws.append(layer.noise(layer.delta(x)))
    z = torch.cat(draws)
    assert z.shape == (200 * SIZE, 1, 96)
    assert {round(value, 9) for value in z.unique().tolist()} == {0.0, round(1 / kept, 9)}
    assert float(z.mean()) == pytest.approx(1, abs=0.02)
    assert float(z.std()) == pytest.approx(1.2, abs=0.02)


def test_sigma_over_depth() -> None:
    """Of a ViT with three blocks (the first is skipped) and a Swin with three, the head being the last level."""
    assert depth_sigmas(1.2, 4, 1) == pytest.approx([0, 1.2, 0.8, 0.4])
    assert depth_sigmas(1.2, 4, 1, "constant") == pytest.approx([0, 1.2, 1.2, 1.2])
    assert depth_sigmas(1.2, 4, 1, "increasing") == pytest.approx([0, 0.4, 0.8, 1.2])
    assert depth_sigmas(1.2, 4, 0, "increasing") == pytest.approx([0.3, 0.6, 0.9, 1.2])
    by_layer = sigma_by_layer(network(METHODS["lora_add"]), 1.2, "increasing")
    assert (by_layer["blocks.0.attn.qkv"], by_layer["head"]) == pytest.approx((0, 1.2))


def test_with_three_networks_the_term_is_the_mean_over_the_three_pairs() -> None:
    model = network(METHODS["lora_add"])
    regularized = build(REGULARIZERS["pace"], model, networks=3)
    done = regularized.step(batch(), 0)
    current = regularized.context.current
    with torch.no_grad(), current.noised(0, SIZE, 3, slice(0, SIZE)):
        a, b, c = model(batch().images).chunk(3)
    pairs = [(a - b).square().sum() / SIZE, (a - c).square().sum() / SIZE, (b - c).square().sum() / SIZE]
    assert min(pairs) > 0
    EXACT(done.terms["loss_consistency"], sum(pairs) / 3)
    EXACT(done.terms["loss_classification"], F.cross_entropy(a, batch().labels))


DROPPING = [name for name, m in METHODS.items() if "delta" in m.gives and "dropout" in m.params.model_fields]


def dropping(method: str) -> nn.Module:
    model = pretrained()
    asked = {"rank": 3} if "rank" in METHODS[method].params.model_fields else {}
    METHODS[method].adapt(model, METHODS[method].params(dropout=0.5, **asked), torch.Generator().manual_seed(0))
    return stirred(model.double().train())


@pytest.mark.parametrize("method", DROPPING)
def test_draws_of_a_sample_drop_the_same_so_that_they_differ_by_noise_alone(method: str) -> None:
    model = dropping(method)
    done = build(REGULARIZERS["pace"], model, sigma=0.0).step(batch(), 0)
    assert not torch.allclose(done.logits, model.eval()(batch().images)), "nothing was dropped"
    assert float(done.terms["loss_consistency"]) < 1e-20


@pytest.mark.parametrize("method", DROPPING)
def test_what_is_dropped_does_not_depend_on_micro_batches(method: str) -> None:
    whole, parts = (build(REGULARIZERS["pace"], dropping(method), micro).step(batch(), 0) for micro in (None, 4))
    EXACT(parts.logits, whole.logits)
    EXACT(parts.terms["loss_consistency"], whole.terms["loss_consistency"])


# --- the others, against their formulas


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


# --- the passes' draws


def test_two_draws_in_a_swin_are_independent_and_its_first_block_is_noised_too() -> None:
    model = tiny_swin()
    METHODS["lora_add"].adapt(model, METHODS["lora_add"].params(rank=2), torch.Generator().manual_seed(0))
    batch = Batch(images(SIZE, 32).float(), torch.arange(SIZE) % 5, torch.arange(SIZE))
    done = build(REGULARIZERS["pace"], stirred(model).train(), sigma=1.0).step(batch, 0)
    assert done.terms["loss_consistency"] > 0
    assert model.get_submodule("layers.0.blocks.0.attn.qkv").sigma == 1.0


def shared_drop_path(rate: float, current: Pass) -> nn.Module:
    layer = DropPath(rate).train()
    put_before(layer, SharedDropPath, name="path", current=current)
    return layer


def test_both_draws_of_a_sample_share_one_drop_path_mask_and_the_kept_make_up_for_the_dropped() -> None:
    current = Pass(SeededSource(0))
    layer = shared_drop_path(0.5, current)
    with current.noised(0, 64, 2, slice(0, 64)):
        out = layer(torch.ones(128, 2, 3))
    assert torch.equal(out[:64], out[64:])
    kept = out[:64, 0, 0] > 0
    assert 0 < kept.sum() < 64
    torch.testing.assert_close(out.mean(), torch.tensor(1.0))


def test_a_mask_that_drops_every_row_is_zero_not_nan() -> None:
    class DropAll(SeededSource):
        def bernoulli(self, step, name, samples, probability, like):
            return torch.zeros(samples)

    current = Pass(DropAll(0))
    layer = shared_drop_path(0.9, current)
    with current.noised(0, 4, 2, slice(0, 4)):
        assert torch.equal(layer(torch.ones(8, 2)), torch.zeros(8, 2))


def test_draws_depend_on_seed_step_and_layer_only() -> None:
    like = torch.zeros(())
    draw = SeededSource(1).normal(3, "head", (4,), like)
    assert torch.equal(draw, SeededSource(1).normal(3, "head", (4,), like))
    for other in (SeededSource(2).normal(3, "head", (4,), like), SeededSource(1).normal(4, "head", (4,), like)):
        assert not torch.equal(draw, other)


def test_pace_fast_compares_with_the_logits_of_the_epoch_before() -> None:
    model = network(METHODS["lora_add"])
    fast = build(REGULARIZERS["pace_fast"], model)
    first = fast.step(batch(), 0)
    expected = first.logits.square().sum() / SIZE  # the table begins at zero
    torch.testing.assert_close(first.terms["loss_consistency"], expected)
    second = fast.step(batch(), 1)
    torch.testing.assert_close(second.terms["loss_consistency"], (second.logits - first.logits).square().sum() / SIZE)
