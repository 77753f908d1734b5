"""From images to batches."""

import pytest
import torch

from pace_core.data import ImageSet
from pace_core.training.batches import Batches, Preprocessing, decoded_size

PREPROCESSING = Preprocessing(8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def images(count: int, size: int = 8) -> ImageSet:
    pixels = torch.arange(count * size * size * 3).remainder(251).to(torch.uint8).view(count, size, size, 3)
    return ImageSet(pixels, torch.arange(count))


def batches(count: int, batch_size: int, *, augmentation: str = "none", size: int = 8, seed: int = 0) -> Batches:
    return Batches(
        images(count, size),
        PREPROCESSING,
        batch_size=batch_size,
        seed=seed,
        augmentation=augmentation,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


@pytest.mark.parametrize(
    ("count", "batch_size", "steps", "size"),
    [(10, 4, 2, 4), (10, 5, 2, 5), (10, 64, 1, 10), (1, 1, 1, 1)],
    ids=["last incomplete batch dropped", "all full", "batch larger than the data", "one image"],
)
def test_any_batch_size_works(count: int, batch_size: int, steps: int, size: int) -> None:
    found = batches(count, batch_size)
    assert found.steps_per_epoch == steps
    assert [len(found.batch(step)) for step in range(steps)] == [size] * steps


def test_an_epoch_shows_every_image_once_and_the_next_another_order() -> None:
    found = batches(12, 4)
    epochs = [torch.cat([found.batch(3 * e + s).index for s in range(3)]) for e in range(2)]
    assert [sorted(e.tolist()) for e in epochs] == [list(range(12))] * 2
    assert not torch.equal(*epochs)


def test_a_step_has_the_same_samples_whatever_was_asked_before() -> None:
    asked, fresh = batches(12, 4), batches(12, 4)
    for step in range(7):
        asked.batch(step)
    assert torch.equal(asked.batch(7).images, fresh.batch(7).images)
    assert not torch.equal(fresh.batch(7).index, batches(12, 4, seed=1).batch(7).index)


def test_labels_and_pixels_stay_together() -> None:
    found, source = batches(6, 3), images(6)
    batch = found.batch(1)
    assert torch.equal(batch.labels, source.labels[batch.index])
    assert torch.equal(batch.images, PREPROCESSING(source.images[batch.index], torch.float32))


def test_preprocessing_scales_and_takes_the_middle() -> None:
    white = torch.full((1, 10, 10, 3), 255, dtype=torch.uint8)
    white[:, 0] = 0
    assert torch.equal(PREPROCESSING(white, torch.float32), torch.ones(1, 3, 8, 8))


def test_crops_and_flips_are_windows_of_the_image() -> None:
    assert decoded_size(224, "crop_flip") == 256
    size = decoded_size(8, "crop_flip")
    found = batches(4, 4, augmentation="crop_flip", size=size)
    batch = found.batch(0)
    again = found.batch(0)
    assert torch.equal(batch.images, again.images)
    pixels = ((batch.images[0] * 0.5 + 0.5) * 255).round().to(torch.uint8).permute(1, 2, 0)
    whole = images(4, size).images[batch.index[0]]
    windows = [
        whole[t : t + 8, x : x + 8].flip(1) if flip else whole[t : t + 8, x : x + 8]
        for t in range(size - 7)
        for x in range(size - 7)
        for flip in (False, True)
    ]
    assert any(torch.equal(pixels, window) for window in windows)
