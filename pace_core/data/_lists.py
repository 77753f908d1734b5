"""Lists of images as benchmarks distribute them: a line is a path, a space, and a label from 0."""

from collections.abc import Sequence
from pathlib import Path

from pace_core.data._listing import Listed, text
from pace_core.spec import RunError
from pace_core.spec.text import shown

_LONGEST_LABEL = 9  # digits; Python refuses to read numbers of thousands


def read_list(file: Path, name: str, roots: Sequence[Path], num_classes: int, faults: list[str]) -> list[Listed]:
    """Returns a list's entries; faulty lines are appended to `faults`, each with `name` and its number.

    Lines are split from the right, since paths contain spaces. `roots`: where the paths may count from; the first in
    which the first image lies is taken for all.
    """
    entries: list[Listed] = []
    labels: set[int] = set()
    for number, line in enumerate(text(file, name).splitlines(), start=1):
        if not line.strip():
            continue
        origin = f"{name} line {number}"
        path, _, label = line.rstrip().rpartition(" ")
        if not path or not label.isdecimal() or len(label) > _LONGEST_LABEL:
            faults.append(f"{origin}: {shown(repr(line), 500)} is not a path, a space and a label")
            continue
        labels.add(int(label))
        if int(label) >= num_classes:
            faults.append(f"{origin}: label {label} is out of range 0..{num_classes - 1}")
        else:
            entries.append(Listed(Path(path), int(label), origin))
    if max(labels, default=0) == num_classes and 0 not in labels:
        faults.append(f"{name}: the labels seem to count from 1 (1..{num_classes}); write them from 0")
    return below(roots, entries)


def below(roots: Sequence[Path], entries: Sequence[Listed]) -> list[Listed]:
    """Returns the entries with their paths below the root in which the first lies; the first root where none has it."""
    if not entries:
        return []
    root = next((root for root in roots if (root / entries[0].path).exists()), roots[0])
    return [Listed(root / entry.path, entry.label, entry.origin) for entry in entries]


def first_folder(root: Path, names: Sequence[str], holds: str = ".") -> Path:
    """Returns the folder of the first of these names that holds that file; the root where it bears one itself.

    Raises RunError where there is no such folder; one without the file is returned, so that its lack is told.
    """
    found = [root / name for name in names if (root / name).is_dir()] + ([root] if root.name in names else [])
    if not found:
        raise RunError("data_missing", f"task.path: {root} has no folder {' or '.join(names)}")
    return next((folder for folder in found if (folder / holds).exists()), found[0])
