"""Where PACE's term cannot join the loss, HF `Trainer` is stopped in its first step, before the first update."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import TrainingArguments

from pace_core.peft_trainer import PaceCallback
from pace_core.spec import RunError
from tests.pace_core.peft_training import InOrder, Pictures, by_hand, close, model_of_user, trained, trainer, untouched


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
