"""Paths in what is submitted: made absolute, and looked for where the stack is this machine's own."""

from collections.abc import Mapping
from typing import Any

from pace_core.spec.errors import Fault, SpecError
from pace_core.spec.recipes import merged
from pace_core.spec.spec_file import missing_paths, read_spec_text, with_absolute_paths
from service.client.address import Address

__all__ = ["SpecError", "read_spec_text", "with_paths_of"]


def with_paths_of(body: Mapping[str, Any], address: Address) -> dict[str, Any]:
    """Returns the body of a job, study or suite with the paths of all its specs absolute.

    Raises SpecError with all that are missing, where the stack is this machine's own.
    """
    found = dict(body)
    for name in ("spec", "overrides"):
        if found.get(name):
            found[name] = with_absolute_paths(found[name])
    if "tasks" in found:
        found["tasks"] = [task if isinstance(task, str) else _section("task", task) for task in found["tasks"]]
    if "rows" in found:
        found["rows"] = [row if isinstance(row, str) else _of_row(row) for row in found["rows"]]
    if "backbones" in found:
        found["backbones"] = [one if isinstance(one, str) else _section("backbone", one) for one in found["backbones"]]
    if address.expected and (faults := _missing(found)):
        raise SpecError(faults)
    return found


def _section(name: str, section: Any) -> Any:
    return with_absolute_paths({name: section})[name]


def _of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "spec": with_absolute_paths(row.get("spec", {}))}


def _missing(body: Mapping[str, Any]) -> list[Fault]:
    over: dict[str, Any] = body.get("overrides") or {}
    faults = missing_paths(merged(body.get("spec") or {}, over))
    for number, task in enumerate(body.get("tasks", ())):
        if not isinstance(task, str):
            own = merged({"task": task}, {"task": over["task"]} if "task" in over else {})
            faults += [_under(f"/tasks/{number}", fault) for fault in missing_paths(own)]
    for number, row in enumerate(body.get("rows", ())):
        if not isinstance(row, str):
            faults += missing_paths(row["spec"], f"/rows/{number}/spec")
    for number, backbone in enumerate(body.get("backbones", ())):
        if not isinstance(backbone, str):
            faults += [_under(f"/backbones/{number}", fault) for fault in missing_paths({"backbone": backbone})]
    return list({fault.message: fault for fault in faults}.values())


def _under(place: str, fault: Fault) -> Fault:
    """The fault of a section that stands at that place."""
    return fault.model_copy(update={"pointer": f"{place}/{fault.pointer.rpartition('/')[2]}"})
