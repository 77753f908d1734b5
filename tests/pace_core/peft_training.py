"""Trainings by HF `Trainer` that keep their gradients, and a PACE step written out by hand beside them, in float64."""

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from pace_core.noise import SeededSource
from pace_core.peft_trainer import PaceCallback
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
