"""Batches of images or tokens: order by (seed, epoch), crops by (seed, step), nothing to remember between steps."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pace_core.data import ImageSet, TextSet
from pace_core.noise import keyed_seed
from pace_core.preprocessing import Preprocessing
from pace_core.regularizers import Batch
from pace_core.tokenization import Tokenization
from pace_core.training.augmentation import Augmentation

_SHARE_OF_FREE_MEMORY = 0.25


class Batches:
    """The training set cut into steps.

    The last incomplete batch of an epoch is dropped where there is a full one; a batch larger than the set is the set.
    """

    def __init__(
        self,
        images: ImageSet | TextSet,
        preprocessing: Preprocessing | Tokenization,
        *,
        batch_size: int,
        seed: int,
        augmentation: str,
        device: torch.device,
        dtype: torch.dtype,
        augment: Augmentation | None = None,
    ) -> None:
        self.pixels = on_device(images.stored, device)
        self.labels = images.labels.to(device)
        self.batch_size = min(batch_size, len(images))
        self.steps_per_epoch = len(images) // self.batch_size
        self._preprocessing, self._seed, self._augmentation = preprocessing, seed, augmentation
        self._device, self._dtype, self._augment = device, dtype, augment
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def batch(self, step: int) -> Batch:
        """Returns the samples of a step, counted from 0 over the whole run."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            rng = torch.Generator().manual_seed(keyed_seed(self._seed, "order", epoch))
            self._order = epoch, torch.randperm(len(self.labels), generator=rng)
        index = self._order[1][number * self.batch_size : (number + 1) * self.batch_size]
        if isinstance(self.pixels, Tensor) and self._augmentation == "none":
            pixels = self.pixels[index.to(self.pixels.device)].to(self._device)
        else:
            rng = torch.Generator().manual_seed(keyed_seed(self._seed, "crop", step))
            chosen = [self.pixels[i] for i in index.tolist()]
            pixels = cropped_and_flipped(chosen, self._preprocessing.image_size, rng).to(self._device)
        index = index.to(self._device)
        labels = self.labels[index]
        if self._augment is None:
            return Batch(self._preprocessing(pixels, self._dtype), labels, index)
        images = self._preprocessing(self._augment.images(pixels, step), self._dtype)
        return Batch(*self._augment.batch(images, labels, step), index)


def on_device(images: Tensor | tuple[Tensor, ...], device: torch.device) -> Tensor | tuple[Tensor, ...]:
    """Moves the images to the device if they fit there with room to spare."""
    parts = [images] if isinstance(images, Tensor) else images
    size = sum(part.nbytes for part in parts)
    scarce = device.type == "cuda" and size > _SHARE_OF_FREE_MEMORY * torch.cuda.mem_get_info(device)[0]
    placed = [part.pin_memory() if scarce else part.to(device) for part in parts]
    return placed[0] if isinstance(images, Tensor) else tuple(placed)


def cropped_and_flipped(images: Sequence[Tensor], size: int, rng: torch.Generator) -> Tensor:
    """Cuts a random square out of each image [H, W, 3] and mirrors every other one; returns [b, S, S, 3]."""
    room = torch.tensor([[image.shape[0] - size, image.shape[1] - size] for image in images]) + 1
    corners = (torch.rand(room.shape, generator=rng, dtype=torch.float64) * room).long().tolist()
    flips = torch.rand(len(images), generator=rng).lt(0.5).tolist()
    crops = [image[top : top + size, left : left + size] for image, (top, left) in zip(images, corners, strict=True)]
    return torch.stack([crop.flip(1) if flip else crop for crop, flip in zip(crops, flips, strict=True)])
