"""Predictions for many image files or texts; an image that cannot be read keeps none of the others from its answer."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pace_core.adapters import AdapterFile, Predictor, parse_adapter
from pace_core.prediction import Answer
from pace_core.spec import RunError

_BATCH = 64
_NEW_TOKENS = 512


def answers_to_texts(file: AdapterFile, texts: Sequence[str], top: int) -> list[Answer]:
    """Returns an answer for every text, in order; a tab separates the two sentences of a pair.

    Raises RunError where the adapter cannot be used.
    """
    predictor = Predictor(file)
    if predictor.writes:
        replies = predictor.replies(texts, int(file.spec.task.params.get("new_tokens", _NEW_TOKENS)))
        return [Answer(text, reply=reply) for text, reply in zip(texts, replies, strict=True)]
    found: list[Answer] = []
    for start in range(0, len(texts), _BATCH):
        part = texts[start : start + _BATCH]
        outputs = predictor.probabilities(predictor.tokens([tuple(text.split("\t")) for text in part]))
        found += [_answer(predictor, text, output, top) for text, output in zip(part, outputs, strict=True)]
    return found


def answers(content: bytes, origin: str, files: Sequence[str | Answer], top: int) -> list[Answer]:
    """Returns an answer for every file, in order; what is an answer already stays so.

    `content`: an adapter file's. Raises RunError where the adapter cannot be used.
    """
    predictor = Predictor(parse_adapter(content, origin))
    with ThreadPoolExecutor() as threads:  # Pillow decodes outside the GIL
        parts = [files[start : start + _BATCH] for start in range(0, len(files), _BATCH)]
        return [answer for part in parts for answer in _of_part(predictor, threads, part, top)]


def _of_part(
    predictor: Predictor, threads: ThreadPoolExecutor, files: Sequence[str | Answer], top: int
) -> Iterator[Answer]:
    def read(file: str | Answer) -> NDArray[np.uint8] | Answer:
        if isinstance(file, Answer):
            return file
        try:
            return predictor.pixels(file)
        except RunError as error:
            return Answer(file, error=error.message)

    read_ones = list(threads.map(read, files))
    images = [pixels for pixels in read_ones if not isinstance(pixels, Answer)]
    predicted = iter(predictor.probabilities(torch.from_numpy(np.stack(images)))) if images else iter(())
    for file, pixels in zip(files, read_ones, strict=True):
        if isinstance(pixels, Answer):
            yield pixels
        else:
            assert isinstance(file, str)
            yield _answer(predictor, file, next(predicted), top)


def _answer(predictor: Predictor, said: str, outputs: Tensor, top: int) -> Answer:
    if predictor.scores:
        return Answer(said, score=float(outputs[0]))
    best = outputs.topk(min(top, len(predictor.class_names)))
    named = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Answer(said, tuple((predictor.class_names[i], probability) for i, probability in named))
