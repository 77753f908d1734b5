"""What is done to training samples at random: by timm's own code, and the same whenever a step is made again."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pace_core.spec import Training
from pace_core.training.augmentation import Augmentation

CLASSES = 3


def augmentation(seed: int = 0, **training: Any) -> Augmentation:
    return Augmentation(Training(**training), num_classes=CLASSES, mean=(0.5, 0.5, 0.5), seed=seed)


def batch(count: int) -> tuple[Tensor, Tensor]:
    """Images whose pixels are their number in the batch."""
    return torch.arange(float(count)).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).clone(), torch.arange(count) % CLASSES


def test_without_settings_a_batch_stays_as_it_is() -> None:
    images, labels = batch(4)
    mixed, targets = augmentation().batch(images.clone(), labels, 0)
    assert torch.equal(mixed, images)
    assert torch.equal(targets, labels)


def test_smoothed_labels_keep_a_share_and_spread_the_rest() -> None:
    _, targets = augmentation(label_smoothing=0.3).batch(*batch(3), 0)
    assert torch.allclose(targets, torch.eye(3) * 0.7 + 0.1)


@pytest.mark.parametrize("settings", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}], ids=str)
@pytest.mark.parametrize("count", [4, 5, 1])
def test_targets_say_how_much_of_each_image_there_is(settings: dict[str, float], count: int) -> None:
    images, labels = batch(count)
    mixed, targets = augmentation(**settings).batch(images.clone(), labels, 3)
    partner = torch.arange(count)
    partner[: count // 2 * 2] = partner[: count // 2 * 2].flip(0)
    own = torch.nn.functional.one_hot(labels, CLASSES).float()
    spread = (mixed.mean((1, 2, 3)) - torch.arange(count)) / (partner - torch.arange(count)).clamp_min(-1e9)
    share = torch.where(partner == torch.arange(count), torch.zeros(count), spread)[:, None]
    assert torch.allclose(targets, own * (1 - share) + own[partner] * share, atol=1e-5)
    assert torch.allclose(targets.sum(1), torch.ones(count))


def test_a_step_s_mixture_depends_on_seed_and_step_alone() -> None:
    def mixed(seed: int, step: int) -> Tensor:
        random.random(), np.random.rand()  # whatever was drawn before
        return augmentation(seed, mixup=0.8, cutmix=1.0).batch(*batch(4), step)[0]

    assert torch.equal(mixed(0, 7), mixed(0, 7))
    assert not torch.equal(mixed(0, 7), mixed(0, 8))
    assert not torch.equal(mixed(0, 7), mixed(1, 7))


def test_rand_augment_changes_images_one_by_one_and_the_same_way_again() -> None:
    pixels = torch.arange(4 * 16 * 16 * 3).remainder(251).to(torch.uint8).view(4, 16, 16, 3)
    augment = augmentation(rand_augment="rand-m9-n2-p1-mstd0.5-inc1")
    changed = augment.images(pixels, 5)
    assert changed.shape == pixels.shape
    assert changed.dtype == torch.uint8
    assert not torch.equal(changed, pixels)
    assert torch.equal(changed, augment.images(pixels, 5))
    assert not torch.equal(changed, augment.images(pixels, 6))


def test_drawing_leaves_the_process_s_own_generators_alone() -> None:
    random.seed(1), np.random.seed(1)
    expected = random.random(), np.random.rand()
    random.seed(1), np.random.seed(1)
    augmentation(mixup=0.8).batch(*batch(4), 0)
    assert (random.random(), np.random.rand()) == expected
