"""PACE in HF `Trainer`: a callback.

Trainer(model=get_peft_model(network, LoraConfig(task_type="SEQ_CLS")), callbacks=[PaceCallback(sigma=0.5)], …)
"""

from collections.abc import Callable
from functools import wraps
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pace_core.noise import Pass, SeededSource
from pace_core.peft_models import follow
from pace_core.regularizers import attach_noise, consistency
from pace_core.regularizers.pace import Params
from pace_core.spec import RunError


class PaceCallback(TrainerCallback):
    """While `Trainer` trains, the model's loss is PACE's: of the first draw, plus lambda · the distance of the draws.

    For a BERT or RoBERTa classifier in which `peft` has adapted layers; in evaluation nothing changes. Takes the
    parameters of the regularizer `pace`; `weight` is its lambda.
    """

    def __init__(self, **params: Any) -> None:
        self._params = Params(**params)
        self._restore: Callable[[], None] = lambda: None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Raises RunError `spec_invalid` for a model that cannot take noise, and where labels are smoothed."""
        if args.label_smoothing_factor:
            message = "training: label_smoothing_factor takes the loss away from the model; leave it at 0"
            raise RunError("spec_invalid", message)
        model: nn.Module = given["model"]
        current = Pass(SeededSource(args.seed))
        attach_noise(follow(model), current, self._params)
        own, forward = model.__dict__.get("forward"), model.forward
        passes = state.global_step * args.gradient_accumulation_steps

        @wraps(forward)
        def with_pace(*positional: Any, **inputs: Any) -> Any:
            nonlocal passes
            if not model.training or inputs.get("labels") is None:
                return forward(*positional, **inputs)
            labels, counted = inputs.pop("labels"), inputs.pop("num_items_in_batch", None)
            networks, samples = self._params.networks, len(labels)
            with current.noised(passes, samples, networks, slice(0, samples)):
                output = forward(*positional, **inputs)
            passes += 1
            draws = output.logits.float().chunk(networks)
            apart = torch.stack([consistency(a, b, samples) for a, b in combinations(draws, 2)]).mean()
            share = 1.0 if counted is None else samples / counted  # of the samples of one update
            output["loss"] = share * (task_loss(draws[0], labels) + self._params.weight * apart)
            output["logits"] = draws[0]
            return output

        def restore() -> None:
            del model.forward
            if own is not None:
                model.forward = own

        model.forward, self._restore = with_pace, restore

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        self._restore()


def task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over samples: cross-entropy of (batch, classes), or squared error of (batch, 1) as for STS-B."""
    if logits.shape[-1] == 1:
        return F.mse_loss(logits.squeeze(-1), labels.float())
    return F.cross_entropy(logits, labels)
