"""What a walk through folders passes over, counted by reason."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pace_core.spec.data_report import NAMED_REASONS, PassedOver
from pace_core.spec.text import shown

_EXAMPLES = 3
_LONGEST_PATH = 500


@dataclass
class Passed:
    """Tally of what is passed over, by reason with a few examples of each, and by class."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    of_class: Counter[str] = field(default_factory=Counter)

    def add(self, why: str, path: Path | str, class_name: str | None = None, count: int = 1) -> None:
        """Counts what lies at the path; nothing where `count` is 0."""
        if count == 0:
            return
        self.counts[why] += count
        if class_name is not None:
            self.of_class[class_name] += count
        examples = self.examples.setdefault(why, [])
        if len(examples) < _EXAMPLES:
            examples.append(shown(str(path), _LONGEST_PATH))

    def by_reason(self) -> list[PassedOver]:
        """Returns the most frequent reasons first, and the rest in one line."""
        ordered = self.counts.most_common()
        listed = [PassedOver(why=w, count=n, examples=self.examples[w]) for w, n in ordered[:NAMED_REASONS]]
        rest = sum(count for _, count in ordered[NAMED_REASONS:])
        return listed + ([PassedOver(why="other reasons", count=rest, examples=[])] if rest else [])
