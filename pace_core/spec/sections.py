"""The sections of a spec, one by one: the name is looked up, and the parameters are checked and filled in."""

from collections.abc import Mapping
from typing import Any, cast

from pace_core.spec.benchmarks import BenchmarkTask, find_task, load_benchmarks
from pace_core.spec.catalogue import Catalogue, Entry, SourceEntry
from pace_core.spec.checks import check_model, check_parameters
from pace_core.spec.errors import Fault
from pace_core.spec.run_spec import Task
from pace_core.spec.suggest import did_you_mean
from pace_core.spec.text import brief


def resolve_entry(section: str, raw: Any, entries: Mapping[str, Entry], faults: list[Fault]) -> dict[str, Any] | None:
    """Returns a method's or regularizer's name and parameters, defaults filled in; None where it was refused.

    Faults are appended.
    """
    if not _is_named(section, raw, faults):
        return None
    entry = entries.get(raw["name"])
    if entry is None:
        message = f"there is no {section} {brief(raw['name'])}{did_you_mean(raw['name'], entries)}"
        faults.append(Fault(pointer=f"/{section}/name", code="unknown_name", message=message))
        return None
    given = {key: value for key, value in raw.items() if key != "name"}
    count = len(faults)
    params = check_parameters(f"/{section}", given, entry, faults)
    return {"name": entry.name, **params} if len(faults) == count else None


def resolve_task(raw: Any, catalogue: Catalogue, faults: list[Fault]) -> dict[str, Any] | None:
    """Returns the task with what its benchmark says of it and the source's parameters; None where it was refused.

    Faults are appended.
    """
    if not _is_named("task", raw, faults):
        return None
    task = dict[str, Any](raw)
    of_benchmark = find_task(task["name"])
    if of_benchmark:
        benchmark, entry = of_benchmark
        if entry.measured_with:
            whole = f"{benchmark.name}/{entry.measured_with}"
            message = f"{benchmark.name}/{entry.name} is measured by every run of {whole}; name that task"
            faults.append(Fault(pointer="/task/name", code="conflict", message=message))
            return None
        _fill_from_benchmark(task, f"{benchmark.name}/{entry.name}", entry, faults)
    elif "source" not in task:
        faults.append(Fault(pointer="/task/name", code="unknown_name", message=_unknown_task(task["name"])))
        return None
    source = catalogue.sources.get(task["source"]) if isinstance(task["source"], str) else None
    if source is None:
        message = f"there is no source {brief(task['source'])}{did_you_mean(str(task['source']), catalogue.sources)}"
        faults.append(Fault(pointer="/task/source", code="unknown_name", message=message))
        return None
    return _check_task(task, source, faults)


def _fill_from_benchmark(task: dict[str, Any], name: str, entry: BenchmarkTask, faults: list[Fault]) -> None:
    """Sets the fields that a benchmark fixes; a fault for each that the spec gives another value."""
    for key, value in {"source": entry.source, "num_classes": entry.num_classes, **entry.params}.items():
        if task.get(key) is not None and task[key] != value:
            message = f"{name} has {value!r}, not {brief(task[key])}; leave the field out"
            faults.append(Fault(pointer=f"/task/{key}", code="conflict", message=message))
        task[key] = value
    task["name"] = name


def _unknown_task(name: str) -> str:
    """Returns the message for a task of no benchmark that names no source either."""
    benchmark_name, slash, task_name = name.partition("/")
    benchmark = load_benchmarks().get(benchmark_name)
    if benchmark:
        hint = did_you_mean(task_name, [task.name for task in benchmark.tasks])
        return f"{benchmark_name} has no task {brief(task_name)}{hint}"
    names = [f"{benchmark.name}/{task.name}" for benchmark in load_benchmarks().values() for task in benchmark.tasks]
    hint = did_you_mean(name, names) if slash else ""
    return f"{brief(name)} is not a task of any benchmark{hint}; your own data needs task.source, such as image_folder"


def _check_task(task: Mapping[str, Any], source: SourceEntry, faults: list[Fault]) -> dict[str, Any] | None:
    """Checks the fields that all tasks have and the parameters of the source."""
    count = len(faults)
    of_source = {key: value for key, value in task.items() if key not in Task.model_fields}
    params = check_parameters("/task", of_source, source, faults, also=tuple(Task.model_fields))
    common = {key: value for key, value in task.items() if key in Task.model_fields}
    checked = check_model("/task", common, Task, faults)
    if checked is None or len(faults) > count:
        return None
    if "phase" not in common and "final" not in source.phases:
        checked["phase"] = source.phases[0]
    if checked["phase"] not in source.phases:
        message = f"source {source.name} has no data for phase {checked['phase']!r}; it has {', '.join(source.phases)}"
        faults.append(Fault(pointer="/task/phase", code="conflict", message=message))
    return {**checked, **params}


def _is_named(section: str, raw: Any, faults: list[Fault]) -> bool:
    if raw is None:
        message = f"a spec needs a {section}: an object with a name and its parameters"
        faults.append(Fault(pointer=f"/{section}", code="missing", message=message))
    elif not isinstance(raw, Mapping):
        message = f"must be an object with a name and its parameters, such as {{name: …}}, not {brief(raw)}"
        faults.append(Fault(pointer=f"/{section}", code="wrong_type", message=message))
    elif not isinstance(cast(Mapping[str, Any], raw).get("name"), str):
        faults.append(Fault(pointer=f"/{section}/name", code="missing", message="a name is needed"))
    else:
        return True
    return False
