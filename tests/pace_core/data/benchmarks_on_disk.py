"""Tiny copies of benchmarks in the layouts that people have."""

import json
from pathlib import Path

from tests.pace_core.data.writing import write_image


def write_fgvc(
    home: Path, images: str, ids: list[int | str], *, missing_in_val: frozenset[int | str] = frozenset()
) -> Path:
    """A data set's folder with VPT's splits: an image a class and split, whose grey value is its class's place."""
    for number, split in enumerate(("train", "val", "test")):
        said = {}
        for place, each in enumerate(ids):
            if split == "val" and each in missing_in_val:
                continue
            path = f"{each}/{split}.jpg"
            write_image(home / images / path, (place + 7 * number) % 256, (4, 4))
            said[path] = each
        (home / f"{split}.json").write_text(json.dumps(said))
    return home


def write_list(file: Path, entries: list[tuple[str, int]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{path} {label}\n" for path, label in entries))


def write_few_shot(home: Path, classes: int, shots: int = 1, images: str = "images", times: int = 1) -> Path:
    """A data set's folder with NOAH's lists of that many shots: three draws, each of other images."""
    for draw in range(3):
        entries = [(f"c{label}/d{draw}_{shot}.jpg", label) for label in range(classes) for shot in range(shots)]
        for path, label in entries:
            write_image(home / images / path, (label + 50 * draw) % 256, (4, 4))
        write_list(home / "annotations" / f"train_meta.list.num_shot_{shots}.seed_{draw}", entries * times)
    for split in ("val", "test"):
        entries = [(f"c{label}/{split}.jpg", label) for label in range(classes)]
        for path, label in entries:
            write_image(home / images / path, (label + 3) % 256, (4, 4))
        write_list(home / "annotations" / f"{split}_meta.list", entries)
    return home


WNIDS = [f"n{label:08d}" for label in range(1000)]
SPARSE = (6, 11, 13)
"""Classes of ImageNet-A and -R's fixtures; 6, 11 and 13 are in both."""


def write_domains(root: Path, *, flat: bool = True, lists: bool = True) -> Path:
    """ImageNet's lists over a handful of images (all labels share a few files), and the four other domains."""
    home = root / "few-shot" / "imagenet"
    shared = write_image(home / "images" / "train" / "shared.JPEG", 9, (4, 4))
    entries = []
    for label in (*range(16), 200, 999):
        path = home / "images" / "train" / WNIDS[label] / f"{WNIDS[label]}_1.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(shared)
        entries.append((f"{WNIDS[label]}/{path.name}", label))
    for draw in range(3):
        write_list(home / "annotations" / f"train_meta.list.num_shot_16.seed_{draw}", entries)
    spare = write_image(home / "images" / "train" / WNIDS[1] / "other.JPEG", 77, (4, 4))
    write_list(
        home / "annotations" / "unofficial_val_list_4_shot16seed0", [(f"{WNIDS[1]}/{spare.name}", 1), entries[2]]
    )
    val = []
    for label in range(3):
        name = f"ILSVRC2012_val_{label:08d}.JPEG"
        below = Path() if flat else Path(WNIDS[label])
        write_image(home / "images" / "val" / below / name, label, (4, 4))
        val.append((name, label))
    write_list(home / "annotations" / "val_meta.list", val)
    domains = root / "domain-generalization"
    for folder, classes in {
        "imagenet-sketch": (0, 1),
        "imagenetv2": (0, 2, 10),
        "imagenet-adversarial": SPARSE,
        "imagenet-rendition": SPARSE,
    }.items():
        said = []
        for label in classes:
            below = str(label) if folder == "imagenetv2" else WNIDS[label]
            path = f"{below}/a picture _ of it.jpg"
            write_image(domains / folder / path, label, (4, 4))
            said.append((path, label))
        if lists:
            write_list(domains / folder / "annotations" / "val_meta.list", said)
    return root
