"""PACE in HF `Trainer`: a callback.

Trainer(model=get_peft_model(network, LoraConfig(task_type="SEQ_CLS")), callbacks=[PaceCallback(sigma=0.5)], …)
"""

from collections.abc import MutableMapping
from itertools import combinations
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pace_core.network.parts import head_name
from pace_core.noise import Pass, SeededSource, keyed_seed
from pace_core.peft_models import Followed
from pace_core.regularizers import attach_noise, consistency
from pace_core.regularizers.pace import Params
from pace_core.spec import RunError

Fraction = tuple[int | Tensor, int | Tensor]


class PaceCallback(TrainerCallback):
    """PACE while `Trainer` trains: the task's loss of the first draw, plus lambda · the distance of the draws' logits.

    For a classifier of text or images in which `peft` has adapted layers. Takes the parameters of the regularizer
    `pace`; `weight` is its lambda. The model is noised in its forward pass in training and nowhere else: evaluation,
    checkpoints and the model after training are the user's. Whoever computes the task's loss does so from the logits
    of the first draw, with all that `Trainer` offers; the gradient of the term joins at these logits in the backward
    pass. The logged loss has the term where it is the model's own; `loss_consistency` in the log is the distance.
    """

    def __init__(self, **params: Any) -> None:
        self._params = Params(**params)
        self._update: _Update | None = None
        self._first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Raises RunError `spec_invalid` for a model that cannot take noise, and for a training that loses the term."""
        self._take_off()
        _refuse(args)
        self._update = _Update(given["model"], self._params, args, getattr(given.get("optimizer"), "scaler", None))

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        skipped = 0 if args.ignore_data_skip else state.global_step % _updates(args, given["train_dataloader"])
        self._first_step = state.global_step - skipped

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        assert self._update is not None
        done = (state.global_step - self._first_step) * args.gradient_accumulation_steps
        left = _batches(given["train_dataloader"], default=done + args.gradient_accumulation_steps) - done
        self._update.begin(state.global_step, min(args.gradient_accumulation_steps, left))

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Raises RunError `spec_invalid` where the term did not reach the gradient."""
        assert self._update is not None
        self._update.end_part()
        self._update.begin_part()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Raises RunError `spec_invalid` where the term did not reach the gradient."""
        assert self._update is not None
        self._update.end_part()

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        self._take_off()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        if self._update is not None and "loss" in state.log_history[-1] and self._update.distances:
            state.log_history[-1]["loss_consistency"] = torch.stack(self._update.distances).mean().item()
            self._update.distances.clear()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        self._take_off()
        self._update = None

    def _take_off(self) -> None:
        if self._update is not None:
            self._update.take_off()


class _Update:
    """The forward and backward passes of one update of the weights, each on a part of its samples.

    A part begins with the noise put on the model and ends, after its backward pass, with the noise taken off. Between,
    the model makes one forward pass under noise. `_split` follows its classifier and hands on the first draw's logits,
    through which `_AddTerm` adds the gradient of the term to that of the loss, whatever that is.
    """

    def __init__(self, model: nn.Module, params: Params, args: TrainingArguments, scaler: Any) -> None:
        self._params, self._args, self._scaler = params, args, scaler
        seed = args.seed if args.process_index == 0 else keyed_seed(args.seed, args.process_index)
        self._current = Pass(SeededSource(seed))
        self.distances: list[Tensor] = []
        """Of the parts since they were last logged, detached."""
        self._step = self._part = self._parts = 0
        self._items_of_sample: int | None = None
        self._passes = self._backward_passes = 0
        self._loss_share: Fraction = (1, 1)
        self._term_share: Fraction = (1, 1)

        def change(network: nn.Module) -> None:
            attach_noise(network, self._current, params)
            network.get_submodule(head_name(network)).register_forward_hook(self._split)
            model.register_forward_pre_hook(self._begin_pass, with_kwargs=True)
            model.register_forward_hook(self._end_pass, with_kwargs=True, always_call=True)

        self._followed = Followed(model, change, around=[model])

    def begin(self, step: int, parts: int) -> None:
        """Begins the update of a step in this many parts."""
        self._step, self._part, self._parts = step, 0, parts
        self.begin_part()

    def begin_part(self) -> None:
        self._passes = self._backward_passes = 0
        self._followed.put_on()

    def end_part(self) -> None:
        """Raises RunError `spec_invalid` where the term did not reach the gradient exactly once."""
        self.take_off()
        self._part += 1
        if self._passes == 0:
            raise _refused("the loss is computed without a forward pass of the model, so PACE has no logits to compare")
        if self._backward_passes != 1:
            count = "does not depend on the logits" if self._backward_passes == 0 else "goes back through them twice"
            raise _refused(f"the loss is not one of the model's logits: it {count}; compute it from outputs.logits")

    def take_off(self) -> None:
        self._current.end()
        self._followed.take_off()

    def _begin_pass(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not model.training or not torch.is_grad_enabled():
            return None
        self._passes += 1
        if self._passes > 1:
            self.take_off()
            message = "the loss takes two forward passes of the model, and PACE would add its term to both"
            raise _refused(f"{message}; make the other one under torch.no_grad()")
        labels, counted = kwargs.get("labels"), kwargs.get("num_items_in_batch")
        samples = _samples((labels, *args, *kwargs.values()))
        self._set_shares(labels, samples, counted)
        if isinstance(labels, Tensor) and counted is not None:
            kwargs = {**kwargs, "num_items_in_batch": _items(labels).clamp_min(1)}
        number = self._step * self._args.gradient_accumulation_steps + self._part
        self._current.begin(number, samples, self._params.networks, slice(0, samples))
        return args, kwargs

    def _set_shares(self, labels: Any, samples: int, counted: Any) -> None:
        """Of this part in the mean over an update's samples, as fractions: they are rounded in the loss's precision.

        `counted` has the labels that `Trainer` counts in the whole update: several a sample where there are many
        labels. Where the model is not given the labels, their number in a sample is taken from the first part.
        """
        if counted is None:  # `Trainer` divides the loss itself
            self._loss_share, self._term_share = (1, 1), (1, self._parts)
            return
        if isinstance(labels, Tensor):
            items = _items(labels)
        else:
            self._items_of_sample = self._items_of_sample or self._infer_items(float(counted), samples)
            items = samples * self._items_of_sample
        self._loss_share = self._term_share = items, counted
        if self._args.average_tokens_across_devices:
            self._term_share = items * self._args.world_size, counted

    def _infer_items(self, counted: float, samples: int) -> int:
        """Labels of a sample, from the first update, whose parts are of one size but for a last one of an epoch."""
        ranks = self._args.world_size if self._args.average_tokens_across_devices else 1
        items = counted / (ranks * self._parts * samples)
        if items > 1 and not items.is_integer():
            message = "the labels are kept from the model and PACE cannot tell how many a sample has"
            raise _refused(f"{message}; set gradient_accumulation_steps to 1 or let the model compute the loss")
        return max(1, int(items))

    def _split(self, head: nn.Module, args: tuple[Any, ...], logits: Tensor) -> Tensor | None:
        """Hands on the first draw's logits (samples, classes) in the place of all draws'."""
        if not self._current.noisy:
            return None
        samples = self._current.samples.stop
        if logits.dim() != 2 or len(logits) != samples * self._params.networks:
            seen = f"{tuple(logits.shape)} for {self._params.networks} draws of {samples} samples"
            raise _refused(f"the classifier gives logits {seen}; PACE compares one row of logits for each sample")
        draws = logits if logits.dtype == torch.float64 else logits.float()
        pairs = combinations(draws.chunk(self._params.networks), 2)
        distance = torch.stack([consistency(a, b, samples) for a, b in pairs]).mean()
        self.distances.append(distance.detach())
        return _AddTerm.apply(logits[:samples], distance, self)

    def _end_pass(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if not self._current.noisy:
            return None
        self._current.end()
        if output is None:  # an exception is on its way
            return None
        term = self._params.weight * self.distances[-1]
        if isinstance(output, tuple) and kwargs.get("labels") is not None:
            return (_times(output[0] + term, self._loss_share), *output[1:])
        if isinstance(output, MutableMapping):
            rows = self._current.samples.stop
            for name in ("hidden_states", "attentions"):
                if output.get(name) is not None:
                    output[name] = tuple(value[:rows] for value in output[name])
            if output.get("loss") is not None:
                output["loss"] = _times(output["loss"] + term, self._loss_share)
        return output

    def gradient_scale(self, one: Tensor) -> Tensor:
        """Returns the term's factor in the gradient; called in the backward pass, noised from here on."""
        self._backward_passes += 1
        self._current.again()
        scale = _times(self._params.weight * one, self._term_share)
        return scale if self._scaler is None else self._scaler.scale(scale)


def _times(value: Tensor, share: Fraction) -> Tensor:
    return value * share[0] / share[1]


class _AddTerm(torch.autograd.Function):
    """Identity of the logits; in the backward pass the term gets a gradient of its own beside theirs.

    So the term enters the gradient of any loss of the logits without being a part of that loss.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, distance: Tensor, update: _Update) -> Tensor:
        ctx.update, ctx.one = update, distance.new_ones(())
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0], ctx.update.gradient_scale(ctx.one), None


def _refuse(args: TrainingArguments) -> None:
    """Raises RunError `spec_invalid` for what wraps the model in a way that PACE's passes do not survive."""
    alternatives = {
        "torch_compile": (args.torch_compile, "what is compiled knows of no noise"),
        "fsdp": (bool(args.fsdp), "it splits the layers that take noise"),
        "deepspeed": (bool(args.deepspeed), "it scales the gradient out of sight"),
        "parallelism_config": (args.parallelism_config is not None, "it splits the samples that are compared"),
        "n_gpu": (args.n_gpu > 1, "DataParallel copies the model; start with torchrun or accelerate, or show one GPU"),
    }
    for name, (used, reason) in alternatives.items():
        if used:
            raise RunError("spec_invalid", f"training: {name} cannot be used with PACE: {reason}")


def _refused(message: str) -> RunError:
    return RunError("spec_invalid", f"training: {message}")


def _items(labels: Tensor) -> Tensor:
    """The labels that count, as `Trainer` counts them."""
    return labels.ne(-100).sum()


def _samples(inputs: tuple[Any, ...]) -> int:
    for value in inputs:
        if isinstance(value, Tensor) and value.dim() > 0:
            return len(value)
    raise _refused("the model is given no tensor to count samples by")


def _batches(loader: Any, default: int) -> int:
    try:
        return len(loader)
    except TypeError:
        return default


def _updates(args: TrainingArguments, loader: Any) -> int:
    """Updates in an epoch; without a length an epoch goes on to the end."""
    return max(1, ceil(_batches(loader, default=args.max_steps) / args.gradient_accumulation_steps))
