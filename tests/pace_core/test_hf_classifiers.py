"""Image classifiers of `transformers` under PACE, held to a step that is written out by hand."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pace_core.network.parts import blocks_of
from pace_core.noise import SeededSource
from pace_core.peft_models import regularize
from tests.pace_core.peft_users import HF_NETWORKS, PACE, gradients, loader, of_hf, trained


@pytest.mark.parametrize("kind", HF_NETWORKS)
def test_a_classifier_of_transformers_takes_a_step_that_is_written_out_by_hand(kind: str) -> None:
    """On rows of which each half is a draw: base + z · delta in the layers of LoRA, z · logits in the head."""
    model, (images, labels) = of_hf(kind), loader()[0]
    by_hand, source = copy.deepcopy(model), SeededSource(4)
    made = gradients(model, PACE)
    network = by_hand.get_base_model()
    blocks = blocks_of(network)
    skipped = 0 if kind == "swin" else 1
    assert len(blocks) == 3
    levels = len(blocks) + 1 - skipped

    def multiplied(name: str, sigma: float) -> Any:
        def hook(layer: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            base = torch.zeros_like(output) if name == "classifier" else layer.get_base_layer()(*args)
            eps = source.normal(0, name, (12, output.shape[-1]), output)
            eps = eps.repeat_interleave(len(output) // 12, 0)  # the windows of a Swin
            return base + (1 + sigma * (eps if output.dim() == 2 else eps[:, None])) * (output - base)

        return hook

    for name, layer in list(network.named_modules()):
        if hasattr(layer, "lora_A"):
            level = blocks.index(next(block for block in blocks if name.startswith(f"{block}."))) - skipped
            layer.register_forward_hook(multiplied(name, 0 if level < 0 else 0.6 * (levels - level) / levels))
    network.classifier.register_forward_hook(multiplied("classifier", 0.6 / levels))
    first, second = by_hand.train()(images.double().repeat(2, 1, 1, 1)).logits.chunk(2)
    loss = nn.functional.cross_entropy(first, labels) + 0.5 * (first - second).square().sum(1).mean()
    loss.backward()
    for ours, parameter in zip(made, trained(by_hand), strict=True):
        assert parameter.grad.abs().max() > 0
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", HF_NETWORKS)
def test_what_such_a_classifier_drops_is_the_same_in_both_draws(kind: str) -> None:
    dropped = {"hidden_dropout_prob": 0.4, "attention_probs_dropout_prob": 0.4, "drop_path_rate": 0.5}
    model, (images, labels) = of_hf(kind, **dropped), loader()[0]
    made = regularize(model, torch.optim.SGD(trained(model), lr=0.1), {**PACE, "sigma": 0.0})
    terms = made.step(images.double(), labels)
    assert terms["loss_consistency"] == pytest.approx(0, abs=1e-20)
    plain = nn.functional.cross_entropy(model.eval()(images.double()).logits, labels).item()
    assert terms["loss_classification"] != pytest.approx(plain, rel=1e-3), "nothing was dropped"
