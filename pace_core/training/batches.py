"""From uint8 images to batches: order by (seed, epoch), crops by (seed, step), nothing to remember between steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pace_core.data import ImageSet
from pace_core.noise import keyed_seed
from pace_core.regularizers import Batch

_SHARE_OF_FREE_MEMORY = 0.25


@dataclass(frozen=True)
class Preprocessing:
    """From pixels to the network's input: a square of `image_size`, scaled to 0 … 1, then (x - mean) / std."""

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """uint8 [b, S, S, 3] → [b, 3, image_size, image_size]; the middle where S is larger."""
        margin = (images.shape[1] - self.image_size) // 2
        middle = images[:, margin : margin + self.image_size, margin : margin + self.image_size]
        pixels = middle.permute(0, 3, 1, 2).to(dtype) / 255
        mean, std = (pixels.new_tensor(value).view(1, 3, 1, 1) for value in (self.mean, self.std))
        return ((pixels - mean) / std).contiguous()


def decoded_size(image_size: int, augmentation: str) -> int:
    """Side of the images to decode: an eighth larger where random crops are taken (256 for 224)."""
    return image_size * 8 // 7 if augmentation == "crop_flip" else image_size


class Batches:
    """The training set cut into steps.

    The last incomplete batch of an epoch is dropped where there is a full one; a batch larger than the set is the set.
    """

    def __init__(
        self,
        images: ImageSet,
        preprocessing: Preprocessing,
        *,
        batch_size: int,
        seed: int,
        augmentation: str,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.pixels = on_device(images.images, device)
        self.labels = images.labels.to(device)
        self.batch_size = min(batch_size, len(images))
        self.steps_per_epoch = len(images) // self.batch_size
        self._preprocessing, self._seed, self._augmentation = preprocessing, seed, augmentation
        self._device, self._dtype = device, dtype
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def batch(self, step: int) -> Batch:
        """The samples of a step, counted from 0 over the whole run."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            rng = torch.Generator().manual_seed(keyed_seed(self._seed, "order", epoch))
            self._order = epoch, torch.randperm(len(self.labels), generator=rng)
        index = self._order[1][number * self.batch_size : (number + 1) * self.batch_size]
        pixels = self.pixels[index.to(self.pixels.device)].to(self._device)
        if self._augmentation == "crop_flip":
            rng = torch.Generator().manual_seed(keyed_seed(self._seed, "crop", step))
            pixels = _cropped_and_flipped(pixels, self._preprocessing.image_size, rng)
        index = index.to(self._device)
        return Batch(self._preprocessing(pixels, self._dtype), self.labels[index], index)


def on_device(pixels: Tensor, device: torch.device) -> Tensor:
    """The images on the device if they fit there with room to spare."""
    if device.type == "cuda" and pixels.nbytes > _SHARE_OF_FREE_MEMORY * torch.cuda.mem_get_info(device)[0]:
        return pixels.pin_memory()
    return pixels.to(device)


def _cropped_and_flipped(pixels: Tensor, size: int, rng: torch.Generator) -> Tensor:
    room = pixels.shape[1] - size + 1
    tops, lefts = torch.randint(room, (2, len(pixels)), generator=rng).tolist()
    flips = torch.rand(len(pixels), generator=rng).lt(0.5).tolist()
    crops = [image[t : t + size, left : left + size] for image, t, left in zip(pixels, tops, lefts, strict=True)]
    return torch.stack([crop.flip(1) if flip else crop for crop, flip in zip(crops, flips, strict=True)])
