"""Under HF `Trainer` the model is its user's: saved, resumed, trained again, checkpointed and in low precision."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from pace_core.peft_models import regularize
from pace_core.peft_trainer import PaceCallback
from tests.pace_core.peft_training import InOrder, Pictures, by_hand, close, model_of_user, trained, trainer, untouched


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_gradients_are_those_without(reentrant: bool, tmp_path: Path) -> None:
    """Noise, masks of dropouts and the rows of both draws are the same when layers are computed again."""

    def gradients(**given: Any) -> dict[str, Tensor]:
        model = model_of_user(hidden_dropout_prob=0.3)
        model.get_base_model().enable_input_require_grads()  # a reentrant checkpoint of frozen layers asks for it
        return trained(tmp_path, model, Pictures(), 1.0, **given).seen[0]

    kept = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": reentrant}}
    close(gradients(**kept), gradients())


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
