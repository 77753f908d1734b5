"""Uploaded data sets that specs name: whether jobs can read them, and how many images they hold."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from pace_core.spec import Fault, RunResult, RunSpec, State
from pace_core.spec.data_report import DataReport
from pace_core.spec.suggest import did_you_mean
from service.datasets.tables import SOURCE, Dataset
from service.jobs.tables import Job
from service.problems import Invalid

_VAL_SHARE = 0.2
"""As the data source has it, where a spec was stored without its defaults."""
_BAD = ("data_corrupt", "data_missing")


def named_by(spec: RunSpec) -> str | None:
    """Returns the uploaded data set that the spec names; None where it reads something else."""
    return str(spec.task.params.get("dataset")) if spec.task.source == SOURCE else None


async def reports(session: AsyncSession, project: str, names: Mapping[str, str]) -> dict[str, DataReport | None]:
    """Returns what the checks of data sets found: name → report, None until its check has ended.

    `names`: name → pointer to where it is given. Raises Invalid for a name that the project has no whole upload of, and
    for one that its check found unusable.
    """
    if not names:
        return {}
    query = (
        select(Dataset.name, Job.state, Job.reason, Job.message, Job.result)
        .join(Job, Job.id == Dataset.job, isouter=True)
        .where(Dataset.project == project, Dataset.completed_at.is_not(None))
        .order_by(Dataset.name)
    )
    there = {name: of_check for name, *of_check in await session.execute(query)}
    faults: list[Fault] = []
    found: dict[str, DataReport | None] = {}
    for name, pointer in names.items():
        if name not in there:
            hint = did_you_mean(name, there) or "; `pace dataset upload FOLDER` makes one"
            message = f"project {project} has no data set {name[:100]!r}{hint}"
            faults.append(Fault(pointer=pointer, code="unknown_name", message=message))
            continue
        state, reason, why, result = there[name]
        if state == State.FAILED and reason in _BAD:
            message = f"data set {name!r} cannot be used, as its check found: {why}; delete it and upload it mended"
            faults.append(Fault(pointer=pointer, code="conflict", message=message))
        found[name] = RunResult.model_validate(result).data if result else None
    if faults:
        raise Invalid("the request has faults", faults)
    return found


def counted(spec: RunSpec, report: DataReport | None) -> RunSpec:
    """Returns the spec with the images that the check counted, where it says no number itself."""
    if report is None or spec.resources.images is not None:
        return spec
    images = images_in(spec, report)
    if spec.task.phase == "final":
        del images["val"]
    else:
        images = {"train": images["train"] - images["val"], "val": images["val"]}
    return spec.model_copy(update={"resources": spec.resources.model_copy(update={"images": images})})


def images_in(spec: RunSpec, report: DataReport) -> dict[str, int]:
    """Returns split → images; those that a search would choose by are counted in `train` too."""
    train = report.images.get("train", 0)
    share = spec.task.params.get("val_fraction", _VAL_SHARE)
    val = report.from_validation or round(train * float(share))
    return {"train": train, "val": val, "test": report.images.get("test", 0)}
