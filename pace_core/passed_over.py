"""Tally of a user's files that are passed over, by reason. Loads no torch."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pace_core.spec.data_report import NAMED_REASONS, PassedOver
from pace_core.spec.text import shown

_EXAMPLES = 3
_LONGEST_PATH = 500


UNSPLIT = "all"
"""The split of files that are passed over before there are splits."""


class Tally(Protocol):
    """A function that counts what lies at a path as passed over."""

    def __call__(self, why: str, path: Path | str, *, count: int = 1) -> None: ...


@dataclass
class Passed:
    """Tally of what is passed over, by reason with a few examples of each, and by class and split."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    of_class: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    """Class → split → reason → number."""

    def add(
        self, why: str, path: Path | str, *, class_name: str | None = None, split: str = UNSPLIT, count: int = 1
    ) -> None:
        """Counts what lies at the path; nothing where `count` is 0."""
        if count == 0:
            return
        self.counts[why] += count
        if class_name is not None:
            self.of_class.setdefault(class_name, {}).setdefault(split, Counter())[why] += count
        examples = self.examples.setdefault(why, [])
        if len(examples) < _EXAMPLES:
            examples.append(shown(str(path), _LONGEST_PATH))

    def by_reason(self) -> list[PassedOver]:
        """Returns the most frequent reasons first, and the rest in one line."""
        ordered = self.counts.most_common()
        listed = [PassedOver(why=w, count=n, examples=self.examples[w]) for w, n in ordered[:NAMED_REASONS]]
        rest = sum(count for _, count in ordered[NAMED_REASONS:])
        return listed + ([PassedOver(why="other reasons", count=rest, examples=[])] if rest else [])
