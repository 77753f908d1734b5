"""PACE in HF `Trainer`: the gradient of every update, held to a PACE step that is written out by hand, in float64."""

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

from pace_core.noise import SeededSource
from pace_core.peft_models import regularize
from pace_core.peft_trainer import PaceCallback
from pace_core.spec import RunError
from tests.networks import stirred, tiny_hf_vit

SIGMA, SEED = 0.8, 42  # the seed is the default of TrainingArguments
NOISED = {"q_proj": SIGMA, "classifier": SIGMA / 2}  # of the second block and the head; the first block has none
Batch = dict[str, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def model_of_user(**settings: Any) -> nn.Module:
    config = LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["classifier"])
    return stirred(get_peft_model(tiny_hf_vit(**settings), config)).double()


class Pictures(Dataset[Batch]):
    """Sixteen pixels a side; labels are class numbers, or what `label` makes of the place in the set."""

    def __init__(self, size: int = 4, label: Callable[[int], Any] = lambda number: number % 5) -> None:
        rng = torch.Generator().manual_seed(5)
        self.pixels = torch.randn(size, 3, 16, 16, generator=rng, dtype=torch.float64)
        self.label = label

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, number: int) -> Any:
        return {"pixel_values": self.pixels[number], "labels": torch.as_tensor(self.label(number))}

    def parts(self, size: int = 4) -> list[Batch]:
        samples = [self[number] for number in range(len(self))]
        groups = [samples[start : start + size] for start in range(0, len(samples), size)]
        return [{key: torch.stack([sample[key] for sample in group]) for key in group[0]} for group in groups]


class Gradients(TrainerCallback):
    """Keeps the gradient of every update, and has the samples in their order."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        trained = {name: p for name, p in given["model"].named_parameters() if p.requires_grad}
        self.seen.append({name: p.grad.clone() for name, p in trained.items()})


class InOrder(Trainer):
    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)


def trainer(
    folder: Path, model: nn.Module, data: Pictures, callbacks: list[TrainerCallback], of: Any = InOrder, **given: Any
) -> Trainer:
    usual = {"max_steps": 1, "optim": "sgd", "max_grad_norm": 0, "per_device_train_batch_size": 4, "use_cpu": True}
    quiet = {"report_to": [], "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1}
    own = {key: given.pop(key) for key in ("compute_loss_func", "eval_dataset") if key in given}
    args = TrainingArguments(str(folder), **{**usual, **quiet, **given})
    return of(model=model, args=args, train_dataset=data, callbacks=callbacks, **own)


def trained(folder: Path, model: nn.Module, data: Pictures, weight: float = 1.0, **given: Any) -> Gradients:
    """The gradients of a training with PACE."""
    gradients = Gradients()
    trainer(folder, model, data, [PaceCallback(sigma=SIGMA, weight=weight), gradients], **given).train()
    return gradients


@contextmanager
def noise_by_hand(model: nn.Module, number: int) -> Iterator[None]:
    """base + z · delta in every layer of LoRA, z · logits in the head, on rows of which each half is one draw."""
    source, handles = SeededSource(SEED), []
    network = model.get_base_model()

    def multiplied(name: str, sigma: float, lora: bool) -> Callable[..., Tensor]:
        def hook(layer: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            base = layer.get_base_layer()(*args) if lora else torch.zeros_like(output)
            eps = source.normal(number, name, (len(output), output.shape[-1]), output)
            return base + (1 + sigma * (eps if output.dim() == 2 else eps[:, None])) * (output - base)

        return hook

    layers = {"vit.layers.1.attention.q_proj": NOISED["q_proj"], "classifier": NOISED["classifier"]}
    for name, sigma in layers.items():
        hook = multiplied(name, sigma, lora=name != "classifier")
        handles.append(network.get_submodule(name).register_forward_hook(hook))
    yield
    for handle in handles:
        handle.remove()


def by_hand(model: nn.Module, parts: list[Batch], loss: Loss, weight: float, drawn: int = 0) -> dict[str, Tensor]:
    """∇ of Σ over parts of loss(f1, y) + weight · mean over all samples of ‖f1 - f2‖².

    Draws are numbered by part, from `drawn`.
    """
    model = copy.deepcopy(model).train()
    samples = sum(len(part["labels"]) for part in parts)
    total = torch.zeros((), dtype=torch.float64)
    for number, part in enumerate(parts, drawn):
        with noise_by_hand(model, number):
            first, second = model(pixel_values=part["pixel_values"].repeat(2, 1, 1, 1)).logits.chunk(2)
        total = total + loss(first, part["labels"]) + weight * (first - second).square().sum() / samples
    total.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def close(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(ours[name], gradient, rtol=1e-6, atol=1e-9, msg=partial("{}: {}".format, name))


# --- whoever computes the task's loss

ONE_OF, MANY, NUMBER = Pictures(6), Pictures(6, lambda n: [float(n >> b & 1) for b in range(5)]), Pictures(6, float)
MEAN_OF_SIX = 6


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="sum") / MEAN_OF_SIX


def weighted_loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    return weighted(outputs.logits, labels, num_items_in_batch)


def weighted(logits: Tensor, labels: Tensor, count: Any = MEAN_OF_SIX) -> Tensor:
    classes = torch.arange(1.0, 6.0, dtype=torch.float64)
    return (classes[labels] * F.cross_entropy(logits, labels, reduction="none")).sum() / count


class LabelsPopped(InOrder):
    """As in the documentation of `transformers`."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs, num_items_in_batch=num_items_in_batch)
        loss = weighted(outputs.logits, labels, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


class LossPassedOver(InOrder):
    """The model is given the labels and computes a loss, which nobody uses."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(**inputs, num_items_in_batch=num_items_in_batch)
        loss = weighted(outputs.logits, inputs["labels"], num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


OWNERS: dict[str, tuple[Pictures, dict[str, Any], Loss]] = {
    "the model, one label": (ONE_OF, {}, cross_entropy),
    "the model, many labels": (
        MANY,
        {},
        lambda f, y: F.binary_cross_entropy_with_logits(f, y, reduction="sum") / (5 * MEAN_OF_SIX),
    ),
    "compute_loss_func": (ONE_OF, {"compute_loss_func": weighted_loss}, weighted),
    "smoothed labels": (
        ONE_OF,
        {"label_smoothing_factor": 0.2},
        lambda f, y: F.cross_entropy(f, y, reduction="sum", label_smoothing=0.2) / MEAN_OF_SIX,
    ),
    "a subclass, without labels": (ONE_OF, {"of": LabelsPopped}, weighted),
    "a subclass, with labels": (ONE_OF, {"of": LossPassedOver}, weighted),
}


@pytest.mark.parametrize("weight", [1.0, 100.0])
@pytest.mark.parametrize("owner", OWNERS)
def test_the_term_joins_the_loss_whoever_computes_it(owner: str, weight: float, tmp_path: Path) -> None:
    """An update of six samples in parts of four and two, as an epoch's last one often is."""
    data, given, loss = OWNERS[owner]
    model = model_of_user()
    expected = by_hand(model, data.parts(), loss, weight)
    close(trained(tmp_path, model, data, weight, gradient_accumulation_steps=2, **given).seen[0], expected)


def test_the_term_joins_the_loss_of_a_regression(tmp_path: Path) -> None:
    model = model_of_user(num_labels=1)
    expected = by_hand(model, NUMBER.parts(), lambda f, y: (f[:, 0] - y).square().sum() / MEAN_OF_SIX, 2.0)
    close(trained(tmp_path, model, NUMBER, 2.0, gradient_accumulation_steps=2).seen[0], expected)


def test_the_term_joins_where_many_labels_are_kept_from_the_model(tmp_path: Path) -> None:
    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs.logits, labels, reduction="sum") / num_items_in_batch

    data, _, task = OWNERS["the model, many labels"]
    whole = model_of_user()
    expected = by_hand(whole, data.parts(6), task, 3.0)
    given = {"compute_loss_func": loss, "per_device_train_batch_size": 6}
    close(trained(tmp_path, whole, data, 3.0, **given).seen[0], expected)
    with pytest.raises(RunError, match=r"cannot tell how many a sample has; set gradient_accumulation_steps to 1"):
        trained(tmp_path, model_of_user(), data, compute_loss_func=loss, gradient_accumulation_steps=2)


def test_ignored_labels_count_as_trainer_counts_them(tmp_path: Path) -> None:
    """A part without any label counts nothing, and is no NaN."""
    data = Pictures(8, lambda number: number % 5 if number < 3 else -100)
    model = model_of_user()
    gradients = trained(tmp_path, model_of_user(), data, 1.0, gradient_accumulation_steps=2).seen[0]
    first = by_hand(model, data.parts()[:1], lambda f, y: F.cross_entropy(f, y, reduction="sum") / 3, 1.0)
    close(gradients, first)


def test_every_update_of_an_epoch_has_the_draws_and_shares_of_its_own_parts(tmp_path: Path) -> None:
    """Five parts, two an update: the last one has a single part; with a learning rate of 0 nothing else changes."""
    data, model = Pictures(18), model_of_user()
    given = {"gradient_accumulation_steps": 2, "max_steps": 6, "learning_rate": 0.0, "compute_loss_func": weighted_loss}
    seen = trained(tmp_path, model, data, 5.0, **given).seen
    parts = data.parts()

    for update, of_update, samples in ((1, parts[2:4], 8), (2, parts[4:], 2), (5, parts[4:], 2)):
        expected = by_hand(model, of_update, lambda f, y, n=samples: weighted(f, y, n), 5.0, drawn=2 * update)
        close(seen[update], expected)


def test_the_log_has_the_loss_with_the_term_and_the_term_alone(tmp_path: Path) -> None:
    def logged(weight: float) -> dict[str, float]:
        made = trainer(tmp_path, model_of_user(), Pictures(), [PaceCallback(sigma=SIGMA, weight=weight)])
        made.train()
        return made.state.log_history[0]

    light, heavy = logged(1.0), logged(100.0)
    assert light["loss_consistency"] == pytest.approx(heavy["loss_consistency"])
    assert light["loss_consistency"] > 0
    assert heavy["loss"] - light["loss"] == pytest.approx(99 * light["loss_consistency"], rel=1e-3)


# --- where the term cannot join, the training is refused in its first step, before the first update


class TwoPasses(InOrder):
    """R-Drop: two passes under the network's own dropout."""

    def compute_loss(self, model: Any, inputs: Any, **_: Any) -> Any:
        return (model(**inputs).logits - model(**inputs).logits).square().mean() + model(**inputs).loss


class NotOfTheLogits(InOrder):
    def compute_loss(self, model: Any, inputs: Any, **_: Any) -> Any:
        return model(**inputs, output_hidden_states=True).hidden_states[-1].square().mean()


class PastTheModel(InOrder):
    def compute_loss(self, model: Any, inputs: Any, **_: Any) -> Any:
        inputs.pop("labels")
        return model.get_base_model()(**inputs).logits.square().mean()


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (TwoPasses, r"two forward passes of the model.*; make the other one under torch.no_grad\(\)"),
        (NotOfTheLogits, r"does not depend on the logits; compute it from outputs.logits"),
        (PastTheModel, r"without a forward pass of the model"),
    ],
)
def test_a_loss_that_the_term_cannot_join_is_refused(of: Any, message: str, tmp_path: Path) -> None:
    model = model_of_user()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RunError, match=message):
        trained(tmp_path, model, Pictures(), of=of)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    if of is not NotOfTheLogits:  # transformers leaves hooks of its own where hidden states were asked for
        untouched(model)


def test_a_teacher_s_pass_without_gradient_is_let_through(tmp_path: Path) -> None:
    class Distilled(InOrder):
        def compute_loss(self, model: Any, inputs: Any, **_: Any) -> Any:
            with torch.no_grad():
                teacher = model(pixel_values=inputs["pixel_values"]).logits
            assert len(teacher) == 4
            return model(**inputs).loss + 0 * teacher.sum()

    model = model_of_user()
    expected = by_hand(model, Pictures().parts(), F.cross_entropy, 1.0)
    close(trained(tmp_path, model, Pictures(), of=Distilled).seen[0], expected)


def test_hidden_states_that_a_loss_looks_at_are_those_of_the_first_draw(tmp_path: Path) -> None:
    class Looking(InOrder):
        def compute_loss(self, model: Any, inputs: Any, **_: Any) -> Any:
            outputs = model(**inputs, output_hidden_states=True)
            assert {len(state) for state in outputs.hidden_states} == {len(outputs.logits)} == {4}
            return outputs.loss

    trained(tmp_path, model_of_user(), Pictures(), of=Looking)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"torch_compile": True}, "torch_compile cannot be used with PACE"),
        ({"fsdp": "full_shard"}, "fsdp cannot be used with PACE"),
    ],
)
def test_what_wraps_the_model_is_refused(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    args = TrainingArguments(str(tmp_path), use_cpu=True)
    for name, value in given.items():
        setattr(args, name, value)
    with pytest.raises(RunError, match=message):
        PaceCallback(sigma=0.5).on_train_begin(args, None, None, model=model_of_user())


def test_two_callbacks_at_once_are_refused(tmp_path: Path) -> None:
    both = [PaceCallback(sigma=0.5), PaceCallback(sigma=0.5)]
    with pytest.raises(RunError, match="two regularizers follow it in the same step; keep one"):
        trainer(tmp_path, model_of_user(), Pictures(), both).train()


# --- gradient checkpointing


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_gradients_are_those_without(reentrant: bool, tmp_path: Path) -> None:
    """Noise, masks of dropouts and the rows of both draws are the same when layers are computed again."""

    def gradients(**given: Any) -> dict[str, Tensor]:
        model = model_of_user(hidden_dropout_prob=0.3)
        model.get_base_model().enable_input_require_grads()  # a reentrant checkpoint of frozen layers asks for it
        return trained(tmp_path, model, Pictures(), 1.0, **given).seen[0]

    kept = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": reentrant}}
    close(gradients(**kept), gradients())


# --- the model is its user's


def untouched(model: nn.Module) -> None:
    """No class, attribute or hook of ours is left, and it can be copied and pickled."""
    fresh = model_of_user(num_labels=model.get_base_model().num_labels)
    for (name, module), (_, peer) in zip(model.named_modules(), fresh.named_modules(), strict=True):
        assert type(module) is type(peer), name
        assert vars(module).keys() - {"_is_accelerate_prepared"} == vars(peer).keys(), name
        assert not module._forward_hooks, name
        assert module._forward_pre_hooks.keys() == peer._forward_pre_hooks.keys(), name
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    inputs = {"pixel_values": Pictures().pixels}
    for other in (torch.load(buffer, weights_only=False), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other.eval()(**inputs).logits, model.eval()(**inputs).logits)


class Saving(TrainerCallback):
    """Saves the whole model where users do so."""

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        untouched(given["model"])

    def on_evaluate(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        untouched(given["model"])


def test_between_steps_and_after_the_training_the_model_is_the_user_s(tmp_path: Path) -> None:
    model = model_of_user()
    given = {"max_steps": 3, "eval_strategy": "steps", "eval_steps": 1, "eval_dataset": Pictures(6)}
    callbacks = [PaceCallback(sigma=0.5), Saving()]
    trainer(tmp_path, model, Pictures(), callbacks, gradient_accumulation_steps=2, **given).train()
    untouched(model)
    assert pickle.loads(pickle.dumps(callbacks[0]))._params.sigma == 0.5


def losses(made: Trainer) -> list[float]:
    made.train()
    return [said["loss"] for said in made.state.log_history if "loss" in said]


def test_a_model_that_was_trained_before_trains_as_a_fresh_one(tmp_path: Path) -> None:
    """With dropouts, after a training, an interrupted one and `regularize`, all on the same modules."""

    class Stop(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            raise KeyboardInterrupt

    def pace() -> PaceCallback:
        return PaceCallback(sigma=0.5, weight=2.0)

    start = {"learning_rate": 0.01, "max_steps": 2}
    used = model_of_user(hidden_dropout_prob=0.3)
    state = copy.deepcopy(used.state_dict())
    made = trainer(tmp_path, used, Pictures(), [pace()], **start)
    first = losses(made)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, used, Pictures(), [pace(), Stop()], **start).train()
    optimizer = torch.optim.SGD([p for p in used.parameters() if p.requires_grad], lr=0.1)
    regularize(used, optimizer, {"name": "pace"}).step(Pictures().pixels, torch.arange(4))
    used.load_state_dict(state)
    used.zero_grad()
    assert losses(trainer(tmp_path, used, Pictures(), [pace()], **start)) == first
    used.load_state_dict(state)
    assert losses(made)[-2:] == first, "the same Trainer once more"
    untouched(used)


def test_a_resumed_training_ends_as_one_never_interrupted(tmp_path: Path) -> None:
    def run(name: str, resume: bool, steps: int) -> nn.Module:
        model = model_of_user()
        given = {"max_steps": steps, "save_strategy": "steps", "save_steps": 2, "learning_rate": 0.1}
        schedule = {"lr_scheduler_type": "constant", "gradient_accumulation_steps": 2}
        made = trainer(tmp_path / name, model, Pictures(20), [PaceCallback(sigma=0.5)], **given, **schedule)
        made.train(resume_from_checkpoint=resume or None)
        return model

    whole = run("whole", resume=False, steps=5)
    run("part", resume=False, steps=2)
    resumed = run("part", resume=True, steps=5)
    for name, value in resumed.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name], rtol=1e-6, atol=1e-9)


def test_with_early_stopping_and_the_best_model_at_the_end(tmp_path: Path) -> None:
    model = model_of_user()
    given = {"max_steps": 6, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "eval_dataset": Pictures(6)}
    callbacks = [PaceCallback(sigma=0.5), EarlyStoppingCallback(early_stopping_patience=1)]
    made = trainer(tmp_path, model, Pictures(), callbacks, learning_rate=0.5, **given, **best)
    made.train()
    evaluated = [said["eval_loss"] for said in made.state.log_history if "eval_loss" in said]
    assert made.evaluate()["eval_loss"] == pytest.approx(min(evaluated))
    untouched(model)


def test_two_models_are_trained_side_by_side(tmp_path: Path) -> None:
    """A callback belongs to one training at a time, and two trainings in turn do not touch each other."""
    callback = PaceCallback(sigma=0.5)
    one, other = model_of_user(), model_of_user()
    assert losses(trainer(tmp_path, one, Pictures(), [callback])) == losses(
        trainer(tmp_path, other, Pictures(), [callback])
    )
    untouched(one)


def test_in_bfloat16_the_term_is_there(tmp_path: Path) -> None:
    def gradient(weight: float) -> Tensor:
        model = model_of_user().float()
        data = Pictures()
        data.pixels = data.pixels.float()
        return trained(tmp_path, model, data, weight, bf16=True).seen[0][HEAD]

    plain, light, heavy = gradient(0.0), gradient(1.0), gradient(3.0)
    torch.testing.assert_close(heavy - plain, 3 * (light - plain), rtol=0.05, atol=0.02)
    assert (light - plain).abs().max() > 0.1


def test_a_scaled_loss_has_a_term_scaled_as_much(tmp_path: Path) -> None:
    """As in float16, whose scaler Trainer's optimizer holds."""

    class Scaled(InOrder):
        def create_accelerator_and_postprocess(self) -> None:
            super().create_accelerator_and_postprocess()
            self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    model = model_of_user()
    expected = by_hand(model, Pictures().parts(), F.cross_entropy, 1.0)
    ours = trained(tmp_path, model, Pictures(), of=Scaled).seen[0]
    close({name: gradient / 1024 for name, gradient in ours.items()}, expected)


HEAD = "base_model.model.classifier.modules_to_save.default.weight"
