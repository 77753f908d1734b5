"""A phase's splits out of sentences and labels, as all sources of sentences make them."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pace_core.data._source import Source
from pace_core.data._splits import Metric, Phase, Splits, TextSet
from pace_core.registry import P
from pace_core.spec import Reporter, RunError
from pace_core.spec.data_report import ClassImages, DataReport
from pace_core.tokenization import SCORE, Sentences, Tokenization

_PART = 2048


@dataclass(frozen=True)
class Sample:
    """One sample as its file has it."""

    sentences: Sentences
    label: float
    """Number of a class, or a score."""


@dataclass(frozen=True)
class Texts:
    """The samples that a phase may open."""

    train: Sequence[Sample]
    measured: Sequence[Sample]
    class_names: tuple[str, ...]
    """`score` alone where labels are scores."""
    metric: Metric
    """What the task is measured by."""
    from_validation: int = 0
    """How many training samples are validation samples."""

    @property
    def scored(self) -> bool:
        """Whether labels are scores instead of classes."""
        return self.class_names == (SCORE,)


def text_source(*, read: Callable[..., Texts], params: type[P], **declared: Any) -> Source[P]:
    """Declares a source by what reads its samples: read(params, *, phase). declared: the other fields of Source."""

    def load(
        given: P, *, phase: Phase, num_classes: int | None, preprocessing: Tokenization, reporter: Reporter
    ) -> Splits:
        texts = _checked(read(given, phase=phase), num_classes)
        train, measured = (
            _tokens(samples, texts, preprocessing, reporter) for samples in (texts.train, texts.measured)
        )
        return Splits(
            train=train,
            val=measured if phase == "search" else None,
            test=measured if phase == "final" else None,
            class_names=texts.class_names,
            report=report_of(texts, phase),
            measured_names=tuple(" | ".join(sample.sentences) for sample in texts.measured),
            metric=texts.metric,
            unit="text",
        )

    def survey(given: P, *, phase: Phase, num_classes: int | None = None) -> DataReport:
        return report_of(_checked(read(given, phase=phase), num_classes), phase)

    def fingerprint(given: P, *, phase: Phase, num_classes: int | None = None) -> str:
        texts = read(given, phase=phase)
        digest = hashlib.sha256(json.dumps([texts.class_names, texts.metric]).encode())
        for samples in (texts.train, texts.measured):
            digest.update(_hash(samples).encode())
        return digest.hexdigest()

    return Source(params=params, load=load, survey=survey, fingerprint=fingerprint, gives="sentences", **declared)


def report_of(texts: Texts, phase: Phase) -> DataReport:
    """Returns how many samples there are of each class and split."""
    used = {"train": texts.train, "val" if phase == "search" else "test": texts.measured}
    counts = {split: Counter(int(sample.label) for sample in samples) for split, samples in used.items()}
    per_class = [
        ClassImages(name=name, images={split: counts[split][label] for split in used})
        for label, name in enumerate(() if texts.scored else texts.class_names)
    ]
    return DataReport(
        classes=len(texts.class_names),
        images={split: len(samples) for split, samples in used.items()},
        from_validation=texts.from_validation,
        per_class=per_class,
        unit="texts",
    )


def _checked(texts: Texts, num_classes: int | None) -> Texts:
    if num_classes not in (None, len(texts.class_names)):
        message = f"is {num_classes}, but the task has {len(texts.class_names)} outputs; leave it out"
        raise RunError("spec_invalid", f"task.num_classes: {message}")
    return texts


def _tokens(samples: Sequence[Sample], texts: Texts, how: Tokenization, reporter: Reporter) -> TextSet:
    tokens, cut = tokenized([sample.sentences for sample in samples], how, reporter)
    if cut:
        message = f"{cut:,} of {len(samples):,} texts are longer than {how.max_length} tokens and are cut"
        reporter.event("log", {"level": "warning", "message": message})
    dtype = torch.float32 if texts.scored else torch.int64
    return TextSet(tokens, torch.tensor([sample.label for sample in samples], dtype=dtype))


_HELD = 4
_held: dict[tuple[str, Tokenization], tuple[Tensor, int]] = {}
"""The sets tokenized last: a warm worker trains many jobs on the same texts. A text of 512 tokens takes 6 KB."""


def tokenized(texts: Sequence[Sentences], how: Tokenization, reporter: Reporter) -> tuple[Tensor, int]:
    """Returns the tokens of all texts, and how many of these are cut."""
    key = hashlib.sha256(json.dumps(texts).encode()).hexdigest(), how
    if key not in _held:
        parts: list[Tensor] = []
        cut = 0
        for start in range(0, len(texts), _PART):
            tokens, of_part = how.encode(texts[start : start + _PART])
            parts, cut = [*parts, tokens], cut + of_part
            done = min(start + _PART, len(texts))
            reporter.event("progress", {"stage": "data", "done": done, "total": len(texts)})
        while len(_held) >= _HELD:
            _held.pop(next(iter(_held)))
        length = max((tokens.shape[2] for tokens in parts), default=0)
        _held[key] = torch.cat([how.padded(tokens, length) for tokens in parts]), cut
    return _held[key]


def _hash(samples: Sequence[Sample]) -> str:
    return hashlib.sha256(json.dumps([(sample.sentences, sample.label) for sample in samples]).encode()).hexdigest()
