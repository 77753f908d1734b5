"""Every regularizer in the folder keeps what a regularizer promises, with every method it can work with."""

from functools import partial

import pytest
import torch
from torch import nn

from pace_core.network.parts import head_name
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, Regularizer, StepContext
from pace_core.training.optimizer import trainable
from tests.conformance.regularized import (
    ABLATIONS,
    EXACT,
    HEAVY,
    METHODS,
    NOISED,
    OFF,
    PAIRS,
    REGULARIZERS,
    batch,
    build,
    gradients,
    gradients_of,
    known,
    network,
    started,
)
from tests.networks import stirred


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
