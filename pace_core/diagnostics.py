"""Measurements of what the theory speaks of, on held-out data over the merged weights of the adapted layers.

Gradient norms (PACE, Theorem 2) and the distance of the fine-tuned outputs to the pretrained ones (Theorem 3).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pace_core.data import Samples
from pace_core.network.parts import block_linears
from pace_core.network.pretrained import Pretrained
from pace_core.network.residual import merged_weights
from pace_core.noise import keyed_seed
from pace_core.regularizers import label_loss

Inputs = Callable[[Samples], Iterator[tuple[Tensor, Tensor]]]


class Diagnostics:
    """Made before training, so that the pretrained state of weights that are trained in place is known."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._pretrained = model, Pretrained(model)

    def measure(self, images: Samples, inputs: Inputs) -> dict[str, float]:
        """Returns `gradient_norm_loss`, `gradient_norm_output` and `fp_distance`.

        gradient_norm_loss: norm of the gradient of the mean loss w.r.t. each adapted weight, summed over
        layers. gradient_norm_output: root mean square over samples of the norm of the outputs' Jacobian w.r.t. each
        adapted weight, summed over layers, estimated with one random sign per sample and class (Hutchinson).
        fp_distance: mean over samples of ‖f(x; θ) - f(x; θ0)‖², under the same head.
        """
        model, was_training = self._model, self._model.training
        model.eval()
        try:
            with merged_weights(model) as merged, _taking_gradients(merged or _plain_weights(model)) as weights:
                outputs, of_loss, of_output = self._gradients(images, inputs, weights)
            with torch.no_grad():
                pretrained = torch.cat([self._pretrained(x) for x, _ in inputs(images)])
        finally:
            model.train(was_training)
        return {
            "gradient_norm_loss": _sum_of_norms(of_loss),
            "gradient_norm_output": _sum_of_norms(of_output),
            "fp_distance": float((outputs - pretrained).square().sum(1).mean()),
        }

    def _gradients(
        self, images: Samples, inputs: Inputs, weights: list[Tensor]
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        count, outputs = len(images), []
        of_loss, of_output = ([torch.zeros_like(w) for w in weights] for _ in range(2))
        signs = torch.Generator().manual_seed(keyed_seed("diagnostics", count))
        for x, labels in inputs(images):
            logits = self._model(x)
            loss = label_loss(logits, labels, count)
            sign = torch.randint(2, logits.shape, generator=signs).to(logits) * 2 - 1
            # the signs of different samples are independent: the square of this sum's gradient is the mean of squares
            output = (sign * logits).sum() / count**0.5
            for total, part in ((of_loss, loss), (of_output, output)):
                for sum_, gradient in zip(total, torch.autograd.grad(part, weights, retain_graph=True), strict=True):
                    sum_ += gradient
            outputs.append(logits.detach())
        return torch.cat(outputs), of_loss, of_output


def _plain_weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: layer.weight for name, layer in block_linears(model).items()}  # pyright: ignore[reportReturnType]


@contextmanager
def _taking_gradients(weights: dict[str, Tensor]) -> Iterator[list[Tensor]]:
    before = {name: weight.requires_grad for name, weight in weights.items()}
    try:
        for weight in weights.values():
            weight.requires_grad_(True)
        yield list(weights.values())
    finally:
        for name, weight in weights.items():
            weight.requires_grad_(before[name])


def _sum_of_norms(gradients: list[Tensor]) -> float:
    return float(sum(gradient.double().norm() for gradient in gradients))
