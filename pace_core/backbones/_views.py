"""Endless batches of training images: half photographs, half formulas, jittered and mixed."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pace_core.backbones._photographs import Pyramid, crop, load_photographs
from pace_core.backbones._procedural import fractals, noise

SIZE = 128
"""Side of a view in pixels, what the teacher sees; the student sees its 2x2 means."""

PHOTOGRAPHS, FRACTALS = 0.5, 0.35
"""Shares of the views; the rest is 1/f noise."""
CUTMIX, MIXUP = 0.35, 0.15
GREY, INVERTED, CHANNELS_SHUFFLED = 0.1, 0.1, 0.1
BATCHES_BETWEEN_RENEWALS, RENEWED = 32, 16


def views(batch_size: int, stock_size: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Batches [batch_size, SIZE, SIZE, 3] without end.

    Fractals and noise take milliseconds to draw, so they come from a stock of `stock_size` each that is renewed slowly.
    """
    photographs = load_photographs()
    area = np.array([np.prod(pyramid[0].size) for pyramid in photographs]) ** 0.5
    covers, textures = fractals(stock_size, SIZE, rng), noise(stock_size, SIZE, rng)
    for number in itertools.count():
        batch = np.empty((batch_size, SIZE, SIZE, 3), np.float32)
        pictures = rng.choice(len(photographs), batch_size, p=area / area.sum())
        for view, picture, kind in zip(batch, pictures, rng.random(batch_size), strict=True):
            texture = _turn(textures[rng.integers(stock_size)], rng)
            if kind < PHOTOGRAPHS:
                view[:] = np.divide(crop(photographs[picture], SIZE, rng), 255, dtype=np.float32)
            elif kind < PHOTOGRAPHS + FRACTALS:
                view[:] = _fractal_scene(covers, photographs[picture], texture, rng)
            else:
                view[:] = texture
        yield (_mix(_jitter(batch, rng), rng) * 255).astype(np.uint8)
        if number % BATCHES_BETWEEN_RENEWALS == 0:
            renewed = rng.integers(stock_size, size=RENEWED)
            covers[renewed], textures[renewed] = fractals(RENEWED, SIZE, rng), noise(RENEWED, SIZE, rng)


def _turn(image: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return np.rot90(image, int(rng.integers(4)))[:, :: rng.choice([-1, 1])]


def _fractal_scene(
    covers: NDArray[np.uint8], photograph: Pyramid, texture: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """One or two fractals of random size and place, plain or textured, before a plain, noisy or photographed ground."""
    ground = rng.integers(3)
    if ground == 0:
        scene = np.divide(crop(photograph, SIZE, rng), 255, dtype=np.float32)
    elif ground == 1:
        scene = _turn(texture, rng).copy()
    else:
        scene = np.broadcast_to(rng.random(3, np.float32), (SIZE, SIZE, 3)).copy()
    for _ in range(rng.integers(1, 3)):
        side = int(rng.integers(SIZE // 3, SIZE + 1))
        top, left = rng.integers(0, SIZE - side + 1, 2)
        cover = Image.fromarray(covers[rng.integers(len(covers))]).resize((side, side), Image.Resampling.BILINEAR)
        alpha = np.minimum(_turn(np.asarray(cover), rng)[..., None] * np.float32(rng.uniform(1, 3) / 255), 1)
        paint = texture[:side, :side] if rng.random() < 0.5 else rng.random(3, np.float32)
        window = scene[top : top + side, left : left + side]
        window += alpha * (paint - window)
    return scene


def _jitter(batch: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Brightness, contrast, saturation and channel order, as one colour matrix and offset for each image."""
    count = len(batch)
    saturation = np.where(rng.random(count) < GREY, 0, rng.uniform(0.4, 1.5, count))
    contrast = rng.uniform(0.5, 1.5, count) * np.where(rng.random(count) < INVERTED, -1, 1)
    luma = np.tile([[0.299], [0.587], [0.114]], (1, 3))
    matrix = contrast[:, None, None] * (luma + saturation[:, None, None] * (np.eye(3) - luma))
    for image in np.flatnonzero(rng.random(count) < CHANNELS_SHUFFLED):
        matrix[image] = matrix[image][:, rng.permutation(3)]
    middle = batch.mean(axis=(1, 2, 3))
    offset = middle * (1 - contrast) + rng.uniform(-0.2, 0.2, count)
    offset = np.where(contrast < 0, offset + 1 - 2 * middle, offset)  # an inverted image has the inverted mean
    pixels = batch.reshape(count, -1, 3) @ matrix.astype(np.float32) + offset[:, None, None].astype(np.float32)
    return np.clip(pixels, 0, 1).reshape(batch.shape)


def _mix(batch: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """CutMix (Yun et al. 2019) or mixup (Zhang et al. 2018) of some images with their neighbours in the batch.

    There are no labels to mix: the teacher sees the result.
    """
    mixed = batch.copy()
    for image, kind in enumerate(rng.random(len(batch))):
        partner = batch[image - 1]
        if kind < CUTMIX:
            height, width = rng.integers(SIZE // 5, SIZE * 4 // 5, 2)
            top, left = rng.integers(0, SIZE - height), rng.integers(0, SIZE - width)
            mixed[image, top : top + height, left : left + width] = partner[top : top + height, left : left + width]
        elif kind < CUTMIX + MIXUP:
            share = np.float32(rng.uniform(0.3, 0.7))
            mixed[image] += share * (partner - mixed[image])
    return mixed
