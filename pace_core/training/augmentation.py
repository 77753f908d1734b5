"""Random changes of training samples by timm's own code; its draws are keyed by (seed, step)."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.mixup import Mixup, mixup_target
from torch import Tensor

from pace_core.noise import keyed_seed
from pace_core.spec import Training


class Augmentation:
    """RandAugment of the images, then mixup, CutMix and label smoothing of the batch, each where the spec has it."""

    def __init__(self, training: Training, *, num_classes: int, mean: tuple[float, ...], seed: int) -> None:
        self._smoothing, self._num_classes, self._seed = training.label_smoothing, num_classes, seed
        self._change: Callable[[Image.Image], Image.Image] | None = None
        if training.rand_augment:
            ground = tuple(min(255, round(255 * value)) for value in mean)  # what moves into view, as timm's own loader
            self._change = rand_augment_transform(training.rand_augment, {"img_mean": ground})
        self._mixup: Mixup | None = None
        if training.mixup or training.cutmix:
            self._mixup = Mixup(
                training.mixup, training.cutmix, label_smoothing=self._smoothing, num_classes=num_classes
            )

    def images(self, pixels: Tensor, step: int) -> Tensor:
        """Changes each of the images, uint8 [b, height, width, 3], on its own."""
        if self._change is None:
            return pixels
        with drawing(self._seed, "rand_augment", step):
            changed = [np.asarray(self._change(Image.fromarray(image))) for image in pixels.cpu().numpy()]
        return torch.from_numpy(np.stack(changed)).to(pixels.device)

    def batch(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Mixes network inputs [b, 3, size, size]; returns them and their targets, numbers [b] or shares [b, classes].

        Of an odd number of samples the last stays as it is, since timm mixes pairs.
        """
        if self._mixup is None:
            return images, self._smoothed(labels).to(images.dtype) if self._smoothing else labels
        paired = len(labels) // 2 * 2
        shares = self._smoothed(labels)
        if paired:
            with drawing(self._seed, "mixup", step):
                _, shares[:paired] = self._mixup(images[:paired], labels[:paired])  # mixes the images in place
        return images, shares.to(images.dtype)

    def _smoothed(self, labels: Tensor) -> Tensor:
        return mixup_target(labels, self._num_classes, smoothing=self._smoothing)


@contextmanager
def drawing(*key: object) -> Iterator[None]:
    """Makes Python's and NumPy's own generators, from which timm draws, a function of the key within the context."""
    python, numpy = random.getstate(), np.random.get_state()
    seed = keyed_seed(*key)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
