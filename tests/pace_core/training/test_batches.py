"""From images to batches."""

import pytest
import torch
from torch import Tensor

from pace_core.data import ImageSet
from pace_core.preprocessing import Preprocessing
from pace_core.training.batches import Batches

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


def test_crops_are_taken_from_an_eighth_more_than_the_network_sees() -> None:
    sizes = Preprocessing.of(augmentation="crop_flip", image_size=224, mean=(0, 0, 0), std=(1, 1, 1))
    assert (sizes.resize_to, sizes.image_size, sizes.resize, sizes.interpolation) == (
        256,
        224,
        "short_side",
        "bilinear",
    )
    squashed = Preprocessing.of(augmentation="none", image_size=224, mean=(0, 0, 0), std=(1, 1, 1))
    assert (squashed.resize_to, squashed.resize, squashed.interpolation) == (None, "squash", "bicubic")


def test_evaluation_sees_the_middle_of_each_image_whatever_its_shape() -> None:
    shapes = [(9, 9), (9, 30), (12, 9)]
    pixels = tuple(torch.zeros(height, width, 3, dtype=torch.uint8) for height, width in shapes)
    for image in pixels:
        image[:, image.shape[1] // 2] = 255
    squares = torch.cat(list(ImageSet(pixels, torch.arange(3)).chunks(PREPROCESSING, 2)))
    assert squares.shape == (3, 8, 8, 3)
    assert (squares[:, 0].argmax(1)[:, 0] == 4).all()


def test_crops_and_flips_are_windows_of_the_whole_rectangle() -> None:
    pixels = tuple(torch.arange(9 * width * 3, dtype=torch.uint8).view(9, width, 3) for width in (9, 21, 40))
    found = Batches(
        ImageSet(pixels, torch.arange(3)),
        PREPROCESSING,
        batch_size=3,
        seed=0,
        augmentation="crop_flip",
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    assert torch.equal(found.batch(0).images, found.batch(0).images)
    lefts: set[tuple[int, bool]] = set()
    for step in range(100):
        batch = found.batch(step)
        for image, index in zip(batch.images, batch.index.tolist(), strict=True):
            crop = ((image * 0.5 + 0.5) * 255).round().to(torch.uint8).permute(1, 2, 0)
            lefts |= {(left, flip) for _, left, flip in places(crop, pixels[index])}
    assert len({left for left, _ in lefts} & set(range(33))) > 25
    assert {flip for _, flip in lefts} == {False, True}


def places(crop: Tensor, image: Tensor) -> list[tuple[int, int, bool]]:
    """Where a crop of eight pixels lies in the image, mirrored or not; at least one place."""
    height, width, _ = image.shape
    found = [
        (top, left, flip)
        for top in range(height - 7)
        for left in range(width - 7)
        for flip in (False, True)
        if torch.equal(crop, image[top : top + 8, left : left + 8].flip(1 if flip else ()))
    ]
    assert found
    return found
