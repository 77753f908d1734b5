"""Parquet files with a column of images and one of labels, such as those of a data set of the HF hub.

Files whose names or folders say train, validation or test are these splits; otherwise test and val images are cut out
of every class by fraction. Names of the classes are those in the files' metadata, where HF wrote them.
"""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pace_core.data import _files
from pace_core.data._columns import ColumnParams, class_names_of, columns, features_in, rows_of
from pace_core.data._listing import Listing, in_one_message
from pace_core.data._rows import Row, listing_of
from pace_core.data._shards import by_split, has_test, here, of_phase, shards
from pace_core.data._splits import Phase
from pace_core.passed_over import Passed
from pace_core.roots import data_path
from pace_core.spec import RunError


class Params(ColumnParams):
    """Location of the files, and their columns."""

    path: str
    """A .parquet file, a pattern such as /data/train-{00000..00003}.parquet, or a folder of such files; or the URL of
    one of these."""


def listed(params: Params, *, phase: Phase, num_classes: int | None) -> Listing:
    """Lists the images of the phase by the labels alone; in a search no file of the test split is opened."""
    passed, rows, faults, names = Passed(), list[Row](), list[str](), dict[tuple[str, ...], Path]()
    path = here(params.path, "path")
    found = by_split(shards(path, ".parquet", "path"), Path(path).expanduser())
    for split, file in of_phase(found, phase):
        try:
            with pq.ParquetFile(data_path(file, "task.path")) as opened:
                schema = opened.schema_arrow
                image, label = columns(params, schema, str(file))
                labels = opened.read(columns=[label]).column(label).to_pylist()
                ends = _ends(opened)
        except (pa.ArrowException, OSError) as error:
            message = f"task.path: {file} cannot be read as parquet ({str(error).splitlines()[0]}); copy it again"
            raise RunError("data_corrupt", message) from None
        names.setdefault(class_names_of(features_in(schema), label), file)
        rows += rows_of(file, labels, split, partial(_cell, file, image, ends), passed, faults)
    if len(names) > 1:
        raise RunError("data_corrupt", f"task.path: {' and '.join(map(str, names.values()))} name other classes")
    if faults:
        raise RunError("data_corrupt", in_one_message(faults))
    if not rows:
        raise RunError("data_missing", f"task.path: {params.path} has no row with a label")
    names_of_classes, cut_test = next(iter(names)), not has_test(found)
    given: dict[str, Any] = {"phase": phase, "num_classes": num_classes, "where": params.path, "passed": passed}
    return listing_of(rows, params, **given, class_names=names_of_classes, cut_test=cut_test)


def _ends(file: pq.ParquetFile) -> tuple[int, ...]:
    """The number of rows up to the end of each row group."""
    ends: list[int] = []
    for group in range(file.num_row_groups):
        ends.append(file.metadata.row_group(group).num_rows + (ends[-1] if ends else 0))
    return tuple(ends)


def _cell(file: Path, column: str, ends: tuple[int, ...], number: int) -> Any:
    group = next(index for index, end in enumerate(ends) if number < end)
    begin = ends[group - 1] if group else 0
    try:
        real = data_path(file)
        return _group(real, real.stat().st_mtime_ns, column, group)[number - begin].as_py()
    except (pa.ArrowException, OSError) as error:
        raise RunError("data_corrupt", f"{file} cannot be read: {str(error).splitlines()[0]}") from None


@lru_cache(maxsize=4)  # images are read in their order; shuffled ones are held decoded
def _group(file: Path, modified: int, column: str, group: int) -> pa.ChunkedArray:
    with pq.ParquetFile(file) as opened:
        return opened.read_row_group(group, columns=[column]).column(column)


SOURCE = _files.file_source(
    name="parquet",
    title="Parquet files with an image column",
    doc=__doc__,
    params=Params,
    listed=listed,
)
