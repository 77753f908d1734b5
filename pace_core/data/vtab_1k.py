"""VTAB-1K in the layout that NOAH's script writes: a folder a task.

It holds the lists train800.txt, val200.txt, train800val200.txt and test.txt, beside the images they name. A line is a
path relative to the task's folder, a space, and a label from 0; the path may contain spaces.
"""

from pace_core.data import _files
from pace_core.data._listing import Listing, in_one_message
from pace_core.data._lists import first_folder, read_list
from pace_core.data._splits import Phase, Splits
from pace_core.data._where import home_of
from pace_core.preprocessing import Preprocessing
from pace_core.spec import Reporter, RunError, load_benchmarks

LISTS: dict[Phase, tuple[str, str]] = {
    "search": ("train800.txt", "val200.txt"),
    "final": ("train800val200.txt", "test.txt"),
}
VALIDATION_IMAGES = 200
"""By the benchmark's protocol they join the training of a final run."""


class Params(_files.PublishedParams):
    """Location of the benchmark, and one of its tasks."""

    path: str | None = None
    """Folder on the worker's machine that holds the tasks' folders, such as /data/vtab-1k; where that machine says
    its data lies (`pace data add`, PACE_DATA) where None."""
    task: str
    """Name of the task, such as `cifar`; the folder may bear the name or one of its aliases (`cifar100`)."""


def load(
    params: Params, *, phase: Phase, num_classes: int | None, preprocessing: Preprocessing, reporter: Reporter
) -> Splits:
    """Loads the phase's images; in a search neither test.txt nor train800val200.txt is opened."""
    listing = listed(params, phase=phase, num_classes=num_classes)
    task = load_benchmarks()["vtab-1k"].task(params.task)
    expected = task.images.get("test") if task else None
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
    root = home_of(params.path, "vtab-1k")
    home = first_folder(root, [task.name, *task.aliases])
    faults: list[str] = []
    train, measured = (
        read_list(home / name, f"{home.name}/{name}", [home], task.num_classes, faults) for name in LISTS[phase]
    )
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    class_names = tuple(str(label) for label in range(task.num_classes))
    return Listing(train, measured, class_names, from_validation=VALIDATION_IMAGES if phase == "final" else 0)


SOURCE = _files.file_source(
    name="vtab_1k",
    title="VTAB-1K folders",
    doc=__doc__,
    params=Params,
    paper="Zhai et al. 2019, arXiv 1910.04867",
    load=load,
    listed=listed,
)
