"""Replays reference numbers of the PACE step through the production classes and prints how well they agree.

usage: python tests/golden/replay.py [FOLDER]     (a folder with reference_pace_step.safetensors and .json)
"""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from timm.layers.drop import DropPath
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pace_core import methods, regularizers
from pace_core.network.parts import head_name
from pace_core.network.residual import merged_weights
from pace_core.network.roles import put_before
from pace_core.noise import Pass
from pace_core.regularizers import Batch, Regularizer, StepContext
from pace_core.regularizers._adapter_noise import SharedDropPath, depth_sigmas, sigma_by_layer
from pace_core.spec import Optimizer, Training
from pace_core.training.optimizer import build_optimizer, trainable
from pace_core.training.schedule import learning_rate

TOLERANCE = 1e-10
LAYER_KEYS = {
    "delta_W_down": "low_rank.B.0",
    "delta_W_up": "low_rank.A.0",
    "delta_b": "beta",
    "delta_prompt_down": "prompt.P",
    "delta_prompt_up": "prompt.q",
}
KINDS = {  # the reference's name → ours, its fixed parameters, and the step at which it was recorded
    "pace": ("pace", {}, 0),
    "lazy_even": ("pace_lazy_half", {"interval": 2}, 0),
    "lazy_odd": ("pace_lazy_half", {"interval": 2}, 1),
    "fast": ("pace_fast", {}, 0),
}


@dataclass
class Recorded:
    """Replays recorded draws by layer."""

    draws: dict[str, Tensor]

    def normal(self, step: int, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        return self.draws[name].reshape(shape).to(like)

    def bernoulli(self, step: int, name: str, samples: int, probability: float, like: Tensor) -> Tensor:
        return self.draws[name].to(like)


class Reference:
    """One folder of reference numbers."""

    def __init__(self, folder: Path) -> None:
        self.tensors = load_file(folder / "reference_pace_step.safetensors")
        self.facts = json.loads((folder / "reference_pace_step.json").read_text())
        self.adapters = sorted(self.facts["sigma_by_layer"])

    def under(self, prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): t for key, t in self.tensors.items() if key.startswith(prefix)}

    def model(self, adapter: str) -> nn.Module:
        """The tiny network with the recorded weights, adapted by our method of that name."""
        model = VisionTransformer(**self.facts["arch"]).double()
        base = self.under("base.")
        model.load_state_dict(base)
        module = methods.entries()[method_name(adapter)]
        module.adapt(model, module.params(rank=self.facts["rank"]), torch.Generator().manual_seed(0))
        model.double()
        recorded = {our_name(name): value for name, value in self.under(f"{adapter}.param.").items()}
        recorded |= {f"{head_name(model)}.{part}": base[f"head.{part}"] for part in ("weight", "bias")}
        with torch.no_grad():
            for name, parameter in trainable(model).items():
                parameter.copy_(recorded.pop(name))
        assert not recorded, f"recorded parameters that {adapter} has not: {sorted(recorded)}"
        return model.train()

    def regularizer(self, model: nn.Module, name: str, params: dict[str, object], draws: Recorded) -> Regularizer:
        module = regularizers.entries()[name]
        params = {"sigma": self.facts["sigma"], "lambda": self.facts["lambda"], **params}
        samples = max((len(t) for key, t in self.tensors.items() if key.endswith("history_before")), default=1)
        context = StepContext(
            model=model,
            current=Pass(draws),
            micro_batch=None,
            autocast=nullcontext,
            train_samples=samples,
            num_classes=self.facts["arch"]["num_classes"],
        )
        return module.make(module.params(**params), context)

    def batch(self, index: Tensor | None = None) -> Batch:
        labels = self.tensors["input.y"]
        return Batch(self.tensors["input.x"], labels, torch.arange(len(labels)) if index is None else index)


def method_name(adapter: str) -> str:
    """`LoRAmul_VPTadd` → `lora_mul_vpt_add`."""
    return re.sub(r"(mul|add)", r"_\1", adapter.lower())


def our_name(parameter: str) -> str:
    """`blocks.0.attn.qkv.delta_b` → `blocks.0.attn.qkv.beta`."""
    layer, _, last = parameter.rpartition(".")
    return f"{layer}.{LAYER_KEYS.get(last, last)}"


def off(ours: Tensor | float, theirs: Tensor | float) -> float:
    """Largest absolute difference; infinite where shapes differ."""
    a, b = torch.as_tensor(ours, dtype=torch.float64), torch.as_tensor(theirs, dtype=torch.float64)
    return float((a - b).abs().max()) if a.shape == b.shape else float("inf")


def replay(folder: Path) -> Iterator[tuple[str, float]]:
    """Every comparison: what was compared, and how far off it is."""
    reference = Reference(folder)
    for adapter in reference.adapters:
        yield from adapter_steps(reference, adapter)
    yield from trajectory(reference)
    yield from schedules(reference)
    yield from drop_path(reference)


def adapter_steps(reference: Reference, adapter: str) -> Iterator[tuple[str, float]]:
    model = reference.model(adapter)
    with torch.no_grad(), merged_weights(model.eval()):
        logits = model(reference.tensors["input.x"])
    yield f"{adapter}.eval_logits", off(logits, reference.tensors[f"{adapter}.eval_logits"])
    for kind, (name, params, step) in KINDS.items():
        recorded = reference.under(f"{adapter}.{kind}.")
        if not recorded:
            continue
        model = reference.model(adapter)
        draws = Recorded({key.removeprefix("noise."): t for key, t in recorded.items() if key.startswith("noise.")})
        regularizer = reference.regularizer(model, name, params, draws)
        if kind == "pace":
            sigmas, theirs = sigma_by_layer(model, reference.facts["sigma"]), reference.facts["sigma_by_layer"][adapter]
            yield f"{adapter}.sigma_by_layer", max(off(sigmas[layer], std) for layer, std in theirs.items())
        if kind == "fast":
            regularizer.load_state_dict({"history": recorded["history_before"]})
        done = regularizer.step(reference.batch(recorded.get("index")), step)
        regularizer.after_update()
        for term, key in (
            ("loss_classification", "cls_loss"),
            ("loss_consistency", "pace_loss"),
            ("loss", "total_loss"),
        ):
            if key in recorded:
                yield f"{adapter}.{kind}.{key}", off(done.terms[term], recorded[key])
        yield f"{adapter}.{kind}.logits", off(done.logits, recorded["logits"])
        if kind == "fast":
            yield f"{adapter}.{kind}.history_after", off(regularizer.state_dict()["history"], recorded["history_after"])
        grads = {our_name(key.removeprefix("grad.")): t for key, t in recorded.items() if key.startswith("grad.")}
        ours = trainable(model)
        yield f"{adapter}.{kind}: same parameters", 0.0 if grads.keys() == ours.keys() else float("inf")
        for key in sorted(grads.keys() & ours.keys()):
            grad = ours[key].grad
            yield f"{adapter}.{kind}.grad.{key}", off(torch.zeros(()) if grad is None else grad, grads[key])


def trajectory(reference: Reference) -> Iterator[tuple[str, float]]:
    facts = reference.facts["trajectory"]
    adapter = facts.get("adapter", "LoRAmul_VPTadd")
    model = reference.model(adapter)
    draws = Recorded({})
    regularizer = reference.regularizer(model, "pace", {}, draws)
    optimizer = build_optimizer(model, Optimizer(lr=facts["lr"], weight_decay=facts["weight_decay"]))
    for step in range(facts["steps"]):
        draws.draws = reference.under(f"trajectory.step{step}.noise.")
        optimizer.zero_grad()
        done = regularizer.step(reference.batch(), step)
        optimizer.step()
        regularizer.after_update()
        yield f"trajectory.step{step}.total_loss", off(done.terms["loss"], facts["total_loss"][step])
    with torch.no_grad(), merged_weights(model.eval()):
        logits = model(reference.tensors["input.x"])
    yield "trajectory.final_eval_logits", off(logits, reference.tensors["trajectory.final_eval_logits"])


def schedules(reference: Reference) -> Iterator[tuple[str, float]]:
    for epochs, rates in reference.facts["lr_by_epoch"].items():
        training = Training(epochs=int(epochs), warmup_epochs=10, schedule="epoch")
        ours = [learning_rate(training, 1e-3, epoch * 7, 7) for epoch in range(len(rates))]
        yield f"lr_by_epoch.{epochs}", max(off(a, b) for a, b in zip(ours, rates, strict=True))
    for name, sigmas in reference.facts["sigma_schedule"].items():
        sigma = float(re.search(r"sigma([\d.]+)$", name).group(1))  # type: ignore[union-attr]
        ours = depth_sigmas(sigma, len(sigmas), 1 if name.startswith("vit") else 0)
        yield f"sigma_schedule.{name}", max(off(a, b) for a, b in zip(ours, sigmas, strict=True))


def drop_path(reference: Reference) -> Iterator[tuple[str, float]]:
    x, y = reference.tensors["drop_path.input"], reference.tensors["drop_path.output"]
    samples = len(x) // 2
    keep = (y[:samples].flatten(1).abs().sum(1) > 0).double()
    current = Pass(Recorded({"path": keep}))
    layer = DropPath(0.4).train()
    put_before(layer, SharedDropPath, name="path", current=current)
    with current.noised(0, samples, 2, slice(0, samples)):
        yield "drop_path.output", off(layer(x), y)


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    torch.set_num_threads(1)
    compared = list(replay(folder))
    for what, difference in compared:
        print(f"{'ok  ' if difference <= TOLERANCE else 'FAIL'} {difference:9.2e}  {what}")
    failed = sum(difference > TOLERANCE for _, difference in compared)
    worst = max((difference for _, difference in compared), default=float("inf"))
    print(f"{len(compared) - failed} of {len(compared)} agree to {TOLERANCE:g}; largest difference {worst:.2e}")
    return 0 if compared and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
