"""The table of class and split that a run logs and its result keeps."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from pace_core.data._listing import Listed, Listing
from pace_core.passed_over import UNSPLIT
from pace_core.spec import Reporter
from pace_core.spec.data_report import NAMED_CLASSES, NAMED_REASONS, ClassImages, DataReport, Duplicates
from pace_core.spec.text import shown

_SHOWN_CLASSES = 20
_EXAMPLES = 3
_NAMED = 5
_HEX = 64


def report_of(listing: Listing, measured: str, hashes: Sequence[str] | None = None) -> DataReport:
    """Returns the report of the listed files. Equal `hashes` (first of those to train on) are duplicates."""
    names = listing.class_names
    used = {"train": listing.train, measured: listing.measured}
    counts = {split: Counter(entry.label for entry in entries) for split, entries in used.items()}
    unmeasured = [row for label, row in enumerate(names) if counts["train"][label] > 1 and not counts[measured][label]]

    def left_out(name: str) -> dict[str, Counter[str]]:
        return listing.passed.of_class.get(name, {})

    rows = [
        ClassImages(
            name=shown(name),
            images={split: counts[split][label] for split in used},
            passed_over=sum(sum(reasons.values()) for reasons in left_out(name).values()),
            left_out={split: dict(reasons.most_common(NAMED_REASONS)) for split, reasons in left_out(name).items()},
        )
        for label, name in enumerate(names)
    ]
    fewest = sorted(range(len(rows)), key=lambda label: (sum(rows[label].images.values()), label))[:NAMED_CLASSES]
    return DataReport(
        classes=len(rows),
        images={split: len(entries) for split, entries in used.items()},
        from_validation=listing.from_validation,
        per_class=[rows[label] for label in sorted(fewest)],
        passed_over=listing.passed.by_reason(),
        duplicates=None if hashes is None else _duplicates(listing, hashes),
        unmeasured_classes=len(unmeasured),
        unmeasured=[shown(name) for name in unmeasured[:_NAMED]],
        alike=_alike(names),
        rare_classes=sum(sum(row.images.values()) < 2 for row in rows),
    )


def tell(report: DataReport, reporter: Reporter) -> None:
    """Logs the table, and a warning for whatever makes a result worth less than it seems."""
    reporter.event("log", {"level": "info", "message": table(report)})
    for message in warnings_of(report):
        reporter.event("log", {"level": "warning", "message": message})


def table(report: DataReport) -> str:
    """Returns the report as lines of text, of at most twenty classes."""
    splits = ", ".join(f"{count:,} to {_verb(split)}" for split, count in report.images.items())
    joined = f" ({report.from_validation:,} of them validation images)" if report.from_validation else ""
    lines = [f"data: {report.classes:,} classes; {report.unit}: {splits}{joined}"]
    fewest = sorted(report.per_class, key=lambda row: sum(row.images.values()))[:_SHOWN_CLASSES]
    shown_rows = [row for row in report.per_class if row in fewest]
    width = max((len(row.name) for row in shown_rows), default=0)
    for row in shown_rows:
        passed = f"  (passed over: {_left_out(row)})" if row.passed_over else ""
        cells = "  ".join(f"{split} {count:>6,}" for split, count in row.images.items())
        lines.append(f"  {row.name:{min(width, 40)}}  {cells}{passed}")
    if report.classes > len(shown_rows) > 0:
        lines.append(f"  and {report.classes - len(shown_rows):,} classes with at least as many images")
    for passed in report.passed_over:
        lines.append(f"passed over: {passed.count:,} {passed.why}, such as {', '.join(passed.examples[:1])}")
    if report.turned_upright:
        lines.append(f"turned upright by their EXIF orientation: {_images(report.turned_upright)}")
    if report.laid_on_background:
        lines.append(f"with transparency, laid on task.background: {_images(report.laid_on_background)}")
    if report.duplicates and report.duplicates.within_split:
        lines.append(f"the same bytes as an earlier image of its split: {_images(report.duplicates.within_split)}")
    return "\n".join(lines)


def _left_out(row: ClassImages) -> str:
    """Says how many are passed over, and why, the most first."""
    every = [(count, why, split) for split, reasons in row.left_out.items() for why, count in reasons.items()]
    said = [
        f"{count:,} {why}" + ("" if split == UNSPLIT or " image" in why else f" in {split}")
        for count, why, split in sorted(every, key=lambda one: -one[0])[:_NAMED]
    ]
    return "; ".join(said) + (" and more" if len(every) > _NAMED else "")


def warnings_of(report: DataReport) -> list[str]:
    """Returns what makes the result worth less than it seems."""
    found: list[str] = []
    twice = report.duplicates
    measured = next(split for split in report.images if split != "train")
    if twice and (twice.in_training_too or twice.two_labels):
        said = []
        if twice.in_training_too:
            said.append(f"{twice.in_training_too:,} of {report.images[measured]:,} {measured} images also in training")
        if twice.two_labels:
            said.append(f"{_images(twice.two_labels)} under more than one label")
        found.append(
            f"the same bytes twice: {'; '.join(said)}, such as {'; '.join(twice.examples)}; remove one of each"
        )
    if report.rare_classes:
        rare = [row.name for row in report.per_class if sum(row.images.values()) < 2]
        names = ", ".join(rare[:5]) + (" and more" if report.rare_classes > 5 else "")
        count = f"{report.rare_classes:,} class{'es' if report.rare_classes > 1 else ''}"
        found.append(f"{count} with fewer than two images, too few to train and to measure on: {names}")
    if report.unmeasured_classes:
        names = ", ".join(report.unmeasured) + (" and more" if report.unmeasured_classes > _NAMED else "")
        count = f"{report.unmeasured_classes:,} of {report.classes:,} classes"
        found.append(f"{count} have no {measured} images, so nothing measures them: {names}")
    if report.alike:
        groups = "; ".join(" and ".join(names) for names in report.alike)
        found.append(f"classes differ in capitals or blanks only: {groups}; if they are one class, give it one name")
    return found


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _alike(class_names: Sequence[str]) -> list[list[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in class_names:
        groups[" ".join(name.casefold().split())].append(shown(name))
    return [names[:5] for names in groups.values() if len(names) > 1][:5]


def _verb(split: str) -> str:
    return {"train": "train on", "val": "choose settings by", "test": "test on"}[split]


def _duplicates(listing: Listing, hashes: Sequence[str]) -> Duplicates:
    every: list[Listed] = [*listing.train, *listing.measured]
    first: dict[str, int] = {}
    labels: defaultdict[str, set[int]] = defaultdict(set)
    seen: set[tuple[bool, int, str]] = set()
    within, both, examples = 0, 0, list[str]()
    for i, entry in enumerate(every):
        content, in_train = hashes[i], i < len(listing.train)
        if len(content) != _HEX:
            continue
        within += (in_train, entry.label, content) in seen
        seen.add((in_train, entry.label, content))
        earlier = first.setdefault(content, i)
        leaked = not in_train and earlier < len(listing.train)
        both += leaked
        if (leaked or entry.label != every[earlier].label) and len(examples) < _EXAMPLES:
            examples.append(f"{shown(str(every[earlier].path), 300)} and {shown(str(entry.path), 300)}")
        labels[content].add(entry.label)
    return Duplicates(
        within_split=within,
        two_labels=sum(len(of) > 1 for of in labels.values()),
        in_training_too=both,
        examples=examples,
    )
