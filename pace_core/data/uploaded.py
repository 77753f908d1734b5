"""A folder of images that was uploaded to the service (`pace dataset upload`), by the name that it has in the project.

What holds for image_folder holds for it: class folders, or train, val and test with such.
"""

from pydantic import Field

from pace_core.data import _files, image_folder
from pace_core.data._listing import Listing
from pace_core.data._splits import Phase
from pace_core.uploads import folder_of


class Params(_files.UserParams):
    """Name of the data set, and how to split it."""

    dataset: str = Field(min_length=1, max_length=100)
    """Its name in the job's project; `pace dataset list` shows them."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of each class's images to test on, where there are no split folders."""


def listed(params: Params, *, phase: Phase, num_classes: int | None) -> Listing:
    """Lists the files of the phase. Raises RunError that names what is missing or not clear."""
    said = params.model_dump(exclude={"dataset"})
    own = image_folder.Params(path=str(folder_of(params.dataset)), **said)
    return image_folder.listed(own, phase=phase, num_classes=num_classes)


SOURCE = _files.file_source(
    name="uploaded",
    title="Uploaded folder of images",
    doc=__doc__,
    params=Params,
    listed=listed,
)
