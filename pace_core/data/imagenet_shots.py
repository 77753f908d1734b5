"""Domain adaptation: 16 images of every ImageNet class to train on; ImageNet, -Sketch, -V2, -A and -R to test on.

Lists are NOAH's, below few-shot/imagenet/annotations and domain-generalization/*/annotations. ImageNet's images lie in
train/<wnid>/ and val/, flat or in folders by wnid. A target without a list is read by its class folders: wnids, or the
numbers 0 to 999 of ImageNet-V2.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from pace_core.data import _files
from pace_core.data._imagenet_subsets import IMAGENET_A, IMAGENET_R
from pace_core.data._listing import Listed, Listing, content_hash, folder, in_one_message
from pace_core.data._lists import read_list
from pace_core.data._splits import Phase, Splits, Target
from pace_core.data._where import home_of
from pace_core.image_walk import images_below, subfolders
from pace_core.passed_over import Passed
from pace_core.preprocessing import Preprocessing
from pace_core.spec import Reporter, RunError, load_benchmarks

CLASSES = 1000
DRAWS = 3
VALIDATION = "unofficial_val_list_4_shot16seed0"
"""Images of ImageNet's training set to choose settings by; made to be apart from draw 0."""


@dataclass(frozen=True)
class Domain:
    """A test set of another domain."""

    folders: tuple[str, ...]
    """Where it may lie below the root or below domain-generalization/."""
    classes: tuple[int, ...] | None = None
    """The labels that occur in it, where not all."""


TEST_SETS = {
    "imagenet-sketch": Domain(("imagenet-sketch", "ImageNet-Sketch", "sketch")),
    "imagenet-v2": Domain(("imagenetv2", "imagenet-v2", "imagenetv2-matched-frequency-format-val")),
    "imagenet-a": Domain(("imagenet-adversarial", "imagenet-a"), IMAGENET_A),
    "imagenet-r": Domain(("imagenet-rendition", "imagenet-r"), IMAGENET_R),
}


class Params(_files.PublishedParams):
    """Location of the lists and images, and how the 200-class test sets are scored."""

    path: str | None = None
    """Folder on the worker's machine that holds few-shot/imagenet and domain-generalization, as NOAH distributes them;
    where that machine says its data lies (`pace data add`, PACE_DATA) where None."""
    imagenet_path: str | None = None
    """Folder of ImageNet's own images, with train/ and val/ in it; looked for below `path` where None."""
    draw: int = Field(default=0, ge=0, lt=DRAWS)
    """Which of the three lists of training images. It is not the run's seed: published numbers are means of all
    three."""
    logits: Literal["all", "own"] = "all"
    """Of ImageNet-A and -R, which have 200 of the 1,000 classes. all: the largest of all 1,000 logits is the answer, as
    in the paper. own: the largest of their 200 logits, as Hendrycks' evaluation and timm have it; far higher."""


def listed(params: Params, *, phase: Phase, num_classes: int | None) -> Listing:
    """Lists training images and, in a search, the validation list; in a final run ImageNet's own val.

    In a search no test image and no list of such is opened. Raises RunError with all faulty lines.
    """
    _files.check_num_classes(num_classes, CLASSES, "ImageNet")
    lists, images = _places(params)
    faults: list[str] = []
    train = _list(lists, f"train_meta.list.num_shot_16.seed_{params.draw}", [images / "train"], faults)
    passed = Passed()
    if phase == "search":
        measured = _list(lists, VALIDATION, [images / "train"], faults)
        trained = {entry.path for entry in train}
        for entry in [entry for entry in measured if entry.path in trained]:
            passed.add(
                "validation image that this draw trains on", entry.path, class_name=str(entry.label), split="val"
            )
        measured = [entry for entry in measured if entry.path not in trained]
    else:
        measured = _in_class_folders(_list(lists, "val_meta.list", [images / "val"], faults), train)
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    return Listing(train, measured, tuple(str(label) for label in range(CLASSES)), passed)


def targets(params: Params, wnids: dict[str, int]) -> dict[str, list[Listed]]:
    """Lists the test sets of other domains by task. Raises RunError with all that are missing or mislabelled."""
    root = home_of(params.path, "domain-adaptation")
    found: dict[str, list[Listed]] = {}
    faults: list[str] = []
    for task, said in TEST_SETS.items():
        places = [base / name for base in (root / "domain-generalization", root) for name in said.folders]
        home = next((place for place in places if place.is_dir()), None)
        if home is None:
            faults.append(f"{task}: there is no folder {' or '.join(said.folders)} below {root}")
            continue
        file = home / "annotations" / "val_meta.list"
        if file.exists():
            found[task] = read_list(file, f"{home.name}/val_meta.list", [home, home / "images"], CLASSES, faults)
        else:
            found[task] = _by_folders(home, wnids, faults)
        faults += _strange_labels(task, said, found[task])
    if faults:
        raise RunError("data_missing" if any("there is no" in fault for fault in faults) else "data_corrupt",
                       in_one_message(faults))  # fmt: skip
    return found


def others(params: Params) -> dict[str, list[Listed]]:
    """Lists the test sets of other domains by task, as a final run measures them."""
    lists, images = _places(params)
    faults: list[str] = []
    train = _list(lists, f"train_meta.list.num_shot_16.seed_{params.draw}", [images / "train"], faults)
    return targets(params, _wnids(train))


def load(
    params: Params, *, phase: Phase, num_classes: int | None, preprocessing: Preprocessing, reporter: Reporter
) -> Splits:
    """Loads the phase's images; a final run's other test sets are decoded whenever they are measured."""
    listing = listed(params, phase=phase, num_classes=num_classes)
    beside = targets(params, _wnids(listing.train)) if phase == "final" else {}
    splits = _files.splits(listing, phase=phase, preprocessing=preprocessing, reporter=reporter)
    made: list[Target] = []
    for task, entries in beside.items():
        known = load_benchmarks()["domain-adaptation"].task(task)
        if known and len(entries) != known.images["test"]:
            message = f"{task}: {len(entries):,} images, the published numbers are over {known.images['test']:,}"
            reporter.event("log", {"level": "warning", "message": message})
        classes = TEST_SETS[task].classes if params.logits == "own" else None
        made.append(Target(task, _files.streamed(entries, preprocessing, reporter), classes))
    return replace(splits, targets=tuple(made))


def fingerprint(params: Params, *, phase: Phase, num_classes: int | None = None) -> str:
    """Returns the SHA-256 of all three draws and all test sets, so that runs on the draws may be averaged."""
    lists, _ = _places(params)
    whole = all((lists / f"train_meta.list.num_shot_16.seed_{draw}").exists() for draw in range(DRAWS))
    draws = range(DRAWS) if whole else [params.draw]
    each = [listed(params.model_copy(update={"draw": draw}), phase=phase, num_classes=num_classes) for draw in draws]
    measured = each[0].measured
    if phase == "final":
        beside = targets(params, _wnids(each[0].train))
        measured = [*measured, *(entry for entries in beside.values() for entry in entries)]
    else:
        apart = {entry.path for one in each for entry in one.measured}
        measured = sorted((Listed(path, 0, "") for path in apart), key=lambda entry: str(entry.path))
    return content_hash(Listing([entry for one in each for entry in one.train], measured, each[0].class_names))


def _places(params: Params) -> tuple[Path, Path]:
    """The folder of ImageNet's lists and that of its images."""
    root = home_of(params.path, "domain-adaptation")
    homes = [root / "few-shot" / "imagenet", root / "imagenet", root]
    lists = next((home / "annotations" for home in homes if (home / "annotations").is_dir()), None)
    if lists is None:
        message = "has no few-shot/imagenet/annotations or imagenet/annotations, where NOAH's lists belong"
        raise RunError("data_missing", f"task.path: {root} {message}")
    if params.imagenet_path is not None:
        return lists, folder(params.imagenet_path, "imagenet_path")
    places = [lists.parent / "images", lists.parent, root / "imagenet" / "images", root / "imagenet", root]
    images = next((place for place in places if (place / "train").is_dir()), None)
    if images is None:
        message = "ImageNet's train and val folders are not beside its lists; say where they are in task.imagenet_path"
        raise RunError("data_missing", f"task.imagenet_path: {message}")
    return lists, images


def _list(lists: Path, name: str, roots: list[Path], faults: list[str]) -> list[Listed]:
    return read_list(lists / name, f"imagenet/{name}", roots, CLASSES, faults)


def _wnids(train: list[Listed]) -> dict[str, int]:
    """WordNet id → label, by the folders of the training list. Raises RunError where two labels claim one."""
    found: dict[str, int] = {}
    for entry in train:
        wnid = entry.path.parent.name
        if found.setdefault(wnid, entry.label) != entry.label:
            message = f"{wnid} has label {entry.label}, and {found[wnid]} before"
            raise RunError("data_corrupt", f"{entry.origin}: {message}; take the list as it is distributed")
    return found


def _in_class_folders(val: list[Listed], train: list[Listed]) -> list[Listed]:
    """The validation images where they are: as listed, flat, or in a folder a class."""
    if not val or val[0].path.exists():
        return val
    of_label = {label: wnid for wnid, label in _wnids(train).items()}
    moved = [
        Listed(entry.path.parent / of_label.get(entry.label, "") / entry.path.name, entry.label, entry.origin)
        for entry in val
    ]
    return moved if moved[0].path.exists() else val


def _by_folders(home: Path, wnids: dict[str, int], faults: list[str]) -> list[Listed]:
    """Class folders of wnids, or of the numbers 0 to 999: by number, never in the order of their names."""
    while len(inner := subfolders(home)) == 1 and inner[0].name not in wnids:
        home = inner[0]
    entries: list[Listed] = []
    for each in subfolders(home):
        label = wnids.get(each.name, int(each.name) if each.name.isdecimal() and len(each.name) < 4 else None)
        if label is None:
            faults.append(f"{home.name}: folder {each.name} is neither a class of the training list nor 0 to 999")
            continue
        entries += [Listed(path, label, f"{home.name}/{each.name}") for path in images_below(each)]
    return sorted(entries, key=lambda entry: entry.label)


def _strange_labels(task: str, said: Domain, entries: list[Listed]) -> list[str]:
    if not entries:
        return [f"{task}: there is no image in it"]
    labels = {entry.label for entry in entries}
    if said.classes is None or labels <= set(said.classes):
        return []
    strange = sorted(labels - set(said.classes))
    cause = (
        "its labels count its own 200 classes from 0; they must be those of ImageNet's 1,000"
        if max(labels) < len(said.classes)
        else "its labels are not those of ImageNet's 1,000 classes in the order of their WordNet ids"
    )
    return [f"{task}: {len(strange)} labels that do not occur in it, such as {strange[0]}; {cause}"]


SOURCE = replace(
    _files.file_source(
        name="imagenet_shots",
        title="ImageNet, 16 images a class, and four other domains",
        doc=__doc__,
        params=Params,
        paper="Zhang et al. 2022, arXiv 2206.04673 (NOAH)",
        listed=listed,
        load=load,
        others=others,
    ),
    fingerprint=fingerprint,
)
