"""VTAB-1K in the layout that NOAH's script writes: a folder a task.

It holds the lists train800.txt, val200.txt, train800val200.txt and test.txt, beside the images they name. A line is a
path relative to the task's folder, a space, and a label from 0; the path may contain spaces.
"""

from pathlib import Path

from pace_core.data import _files
from pace_core.data._listing import Listed, Listing, folder, in_one_message, text
from pace_core.data._splits import Phase, Splits
from pace_core.preprocessing import Preprocessing
from pace_core.spec import Reporter, RunError, load_benchmarks

LISTS: dict[Phase, tuple[str, str]] = {
    "search": ("train800.txt", "val200.txt"),
    "final": ("train800val200.txt", "test.txt"),
}
TEST_IMAGES = {
    "cifar": 10_000, "caltech101": 6_084, "dtd": 1_880, "oxford_flowers102": 6_149, "oxford_iiit_pet": 3_669,
    "svhn": 26_032, "sun397": 21_750, "patch_camelyon": 32_768, "eurosat": 5_400, "resisc45": 6_300,
    "diabetic_retinopathy": 42_670, "clevr_count": 15_000, "clevr_dist": 15_000, "dmlab": 22_735, "kitti": 711,
    "dsprites_loc": 73_728, "dsprites_ori": 73_728, "smallnorb_azi": 12_150, "smallnorb_ele": 12_150,
}  # fmt: skip
"""Test images of each task in the versions that the published numbers come from; others are reported, not refused."""


VALIDATION_IMAGES = 200
"""By the benchmark's protocol they join the training of a final run."""


class Params(_files.FileParams):
    """Location of the benchmark, and one of its tasks."""

    path: str
    """Folder on the worker's machine that holds the tasks' folders, such as /data/vtab-1k."""
    task: str
    """Name of the task, such as `cifar`; the folder may bear the name or one of its aliases (`cifar100`)."""
    exif: bool = False
    """Turn photographs upright as their EXIF orientation says; off, as in the published rows."""


def load(
    params: Params, *, phase: Phase, num_classes: int | None, preprocessing: Preprocessing, reporter: Reporter
) -> Splits:
    """Loads the phase's images; in a search neither test.txt nor train800val200.txt is opened."""
    listing = listed(params, phase=phase, num_classes=num_classes)
    expected = TEST_IMAGES.get(params.task)
    if phase == "final" and expected and len(listing.measured) != expected:
        message = (
            f"{params.task}: test.txt has {len(listing.measured)} images, the published numbers are over {expected}"
        )
        reporter.event("log", {"level": "warning", "message": message})
    return _files.splits(listing, phase=phase, preprocessing=preprocessing, reporter=reporter)


def listed(params: Params, *, phase: Phase, num_classes: int | None) -> Listing:
    """Lists the files of the phase. The benchmark gives the number of classes, as the lists miss some classes.

    Raises RunError with all faulty lines at once, each with file and line.
    """
    task = load_benchmarks()["vtab-1k"].task(params.task)
    if task is None:
        raise RunError("spec_invalid", f"task.task: VTAB-1K has no task {params.task!r}")
    _files.check_num_classes(num_classes, task.num_classes, params.task)
    root = folder(params.path, "path")
    names = [task.name, *task.aliases]
    home = next((root / name for name in names if (root / name).is_dir()), None)
    if home is None:
        raise RunError("data_missing", f"task.path: {root} has no folder {' or '.join(names)}")
    faults: list[str] = []
    train, measured = (_read(home, name, task.num_classes, faults) for name in LISTS[phase])
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    class_names = tuple(str(label) for label in range(task.num_classes))
    return Listing(train, measured, class_names, from_validation=VALIDATION_IMAGES if phase == "final" else 0)


def _read(home: Path, name: str, num_classes: int, faults: list[str]) -> list[Listed]:
    entries = []
    for number, line in enumerate(text(home / name, home.name).splitlines(), start=1):
        if not line.strip():
            continue
        origin = f"{home.name}/{name} line {number}"
        path, _, label = line.rstrip().rpartition(" ")
        if not path or not label.isdecimal():
            faults.append(f"{origin}: {line!r} is not a path, a space and a label")
        elif int(label) >= num_classes:
            faults.append(f"{origin}: label {label} is out of range 0..{num_classes - 1}")
        else:
            entries.append(Listed(home / path, int(label), origin))
    return entries


SOURCE = _files.file_source(
    name="vtab_1k",
    title="VTAB-1K folders",
    doc=__doc__,
    params=Params,
    paper="Zhai et al. 2019, arXiv 1910.04867",
    load=load,
    listed=listed,
)
