"""The one function that checks a spec: the same in CLI, client, API and core."""

import re
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel
from pydantic import ValidationError as PydanticError

from pace_core.spec.benchmarks import find_task, load_benchmarks
from pace_core.spec.catalogue import BackboneEntry, Catalogue, Entry, MethodEntry, load_catalogue
from pace_core.spec.checks import check_model, check_parameters, model_faults
from pace_core.spec.errors import Fault, SpecError
from pace_core.spec.plain import plain
from pace_core.spec.run_spec import Backbone, Optimizer, Resources, RunSpec, Task, Training
from pace_core.spec.spec_file import WEIGHT_FILES
from pace_core.spec.suggest import did_you_mean
from pace_core.spec.text import brief
from pace_core.spec.training_faults import training_faults

_TYPED: dict[str, type[BaseModel]] = {
    "backbone": Backbone,
    "optimizer": Optimizer,
    "training": Training,
    "resources": Resources,
}
DEFAULT_DROP_PATH = 0.1
_TIMM_FAMILIES = re.compile(r"^(vit|deit3?|swin|swinv2)_")
_WEIGHT_WORDS = ("auto", "bundled", "hub", "none")


def validate(raw: Mapping[str, Any], catalogue: Catalogue | None = None) -> RunSpec:
    """The resolved spec: every default filled in, every name known, fields that fit each other.

    Raises SpecError with all faults at once. What only the data or a model from a hub can tell (the widths of its
    layers, labels out of range) the core checks before training.
    """
    catalogue = catalogue or load_catalogue()
    if not isinstance(raw, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  (what a user's file holds)
        raise SpecError([Fault(pointer="", code="wrong_type", message="a spec is an object of named sections")])
    raw, unfit = plain(raw)
    if unfit:  # nothing below is made for numbers and texts of any size
        raise SpecError(unfit)
    faults = [
        Fault(
            pointer=f"/{key}",
            code="unknown_key",
            message=f"there is no section {key!r}{did_you_mean(str(key), RunSpec.model_fields)}",
        )
        for key in raw
        if key not in RunSpec.model_fields
    ]
    resolved: dict[str, Any] = {
        "task": _task(raw.get("task"), catalogue, faults),
        "method": _chosen("method", raw.get("method"), catalogue.methods, faults),
        "regularizer": _chosen("regularizer", raw.get("regularizer", {"name": "none"}), catalogue.regularizers, faults),
    }
    for section, model in _TYPED.items():
        resolved[section] = check_model(f"/{section}", raw.get(section, {}), model, faults)
    _resolve_drop_path(resolved, catalogue)
    faults += _across(resolved, catalogue)
    for key in ("init_from", "seed"):
        if key in raw:
            resolved[key] = raw[key]
    try:
        spec = RunSpec.model_validate({key: value for key, value in resolved.items() if value is not None})
    except PydanticError as error:
        known = {fault.pointer for fault in faults}
        # what the sections above refused is absent here; only what they could not see is news
        faults += [f for f in model_faults("", error, RunSpec) if f.pointer.count("/") == 1 and not _within(f, known)]
        spec = None
    if faults or spec is None:
        raise SpecError(faults)
    return spec


def _resolve_drop_path(resolved: Mapping[str, Any], catalogue: Catalogue) -> None:
    training, method = resolved["training"], resolved["method"]
    if training and method and training["drop_path"] is None:
        training["drop_path"] = 0.0 if catalogue.methods[method["name"]].freezes_features else DEFAULT_DROP_PATH


def _within(fault: Fault, known: set[str]) -> bool:
    return any(pointer == fault.pointer or pointer.startswith(f"{fault.pointer}/") for pointer in known)


def _task(raw: Any, catalogue: Catalogue, faults: list[Fault]) -> dict[str, Any] | None:
    if not _named("task", raw, faults):
        return None
    task: dict[str, Any] = dict(raw)
    found = find_task(task["name"])
    if found:
        benchmark, entry = found
        fixed = {"source": entry.source, "num_classes": entry.num_classes, **entry.params}
        for key, value in fixed.items():
            if key in task and task[key] is not None and task[key] != value:
                message = f"{benchmark.name}/{entry.name} has {value!r}, not {brief(task[key])}; leave the field out"
                faults.append(Fault(pointer=f"/task/{key}", code="conflict", message=message))
            task[key] = value
        task["name"] = f"{benchmark.name}/{entry.name}"
    elif "source" not in task:
        benchmark_name, slash, task_name = task["name"].partition("/")
        benchmark = load_benchmarks().get(benchmark_name)
        if benchmark:
            hint = did_you_mean(task_name, [t.name for t in benchmark.tasks])
            message = f"{benchmark_name} has no task {brief(task_name)}{hint}"
        else:
            names = [f"{b.name}/{t.name}" for b in load_benchmarks().values() for t in b.tasks]
            hint = did_you_mean(task["name"], names) if slash else ""
            cure = "your own data needs task.source, such as image_folder"
            message = f"{brief(task['name'])} is no benchmark's task{hint}; {cure}"
        faults.append(Fault(pointer="/task/name", code="unknown_name", message=message))
        return None
    source = catalogue.sources.get(task["source"]) if isinstance(task["source"], str) else None
    if source is None:
        message = f"there is no source {brief(task['source'])}{did_you_mean(str(task['source']), catalogue.sources)}"
        faults.append(Fault(pointer="/task/source", code="unknown_name", message=message))
        return None
    own = {key: value for key, value in task.items() if key not in Task.model_fields}
    common = {key: value for key, value in task.items() if key in Task.model_fields}
    count = len(faults)
    params = check_parameters("/task", own, source, faults, also=tuple(Task.model_fields))
    checked = check_model("/task", common, Task, faults)
    if checked is None or len(faults) > count:
        return None
    if checked["phase"] not in source.phases:
        message = f"source {source.name} has no data for phase {checked['phase']!r}; it has {', '.join(source.phases)}"
        faults.append(Fault(pointer="/task/phase", code="conflict", message=message))
    return {**checked, **params}


def _chosen(section: str, raw: Any, entries: Mapping[str, Entry], faults: list[Fault]) -> dict[str, Any] | None:
    if not _named(section, raw, faults):
        return None
    entry = entries.get(raw["name"])
    if entry is None:
        message = f"there is no {section} {brief(raw['name'])}{did_you_mean(raw['name'], entries)}"
        faults.append(Fault(pointer=f"/{section}/name", code="unknown_name", message=message))
        return None
    own = {key: value for key, value in raw.items() if key != "name"}
    count = len(faults)
    params = check_parameters(f"/{section}", own, entry, faults)
    return {"name": entry.name, **params} if len(faults) == count else None


def _named(section: str, raw: Any, faults: list[Fault]) -> bool:
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


def _across(resolved: Mapping[str, Any], catalogue: Catalogue) -> list[Fault]:
    """Faults between fields; a section that is None was refused already."""
    faults: list[Fault] = []
    method, regularizer = resolved["method"], resolved["regularizer"]
    if method and regularizer:
        gives = catalogue.methods[method["name"]].gives
        entry = catalogue.regularizers[regularizer["name"]]
        for need in entry.needs:
            if need not in gives:
                able = ", ".join(n for n, m in catalogue.methods.items() if need in m.gives and ":" not in n)
                why = f" ({entry.reasons[need]})" if need in entry.reasons else ""
                lacks = f"method {method['name']} does not give {need!r}"
                message = f"{entry.name} cannot work here: {lacks}{why}; methods that do: {able}"
                faults.append(Fault(pointer="/regularizer/name", code="conflict", message=message))
    if resolved["backbone"]:
        faults += _backbone_faults(resolved["backbone"], method, catalogue)
    if resolved["training"]:
        faults += training_faults(resolved["training"], resolved["optimizer"], method, regularizer, catalogue)
    return faults


def _backbone_faults(
    backbone: Mapping[str, Any], method: Mapping[str, Any] | None, catalogue: Catalogue
) -> list[Fault]:
    faults: list[Fault] = []
    name, weights = backbone["name"], backbone["weights"]
    entry = catalogue.backbones.get(name)
    if entry is None and not _TIMM_FAMILIES.match(name):
        hint = did_you_mean(name, catalogue.backbones)
        message = f"{brief(name)} is neither the network that ships nor a timm ViT or Swin{hint}"
        faults.append(Fault(pointer="/backbone/name", code="unknown_name", message=message))
    if weights == "bundled" and not (entry and entry.bundled):
        message = f"no weights of {name} ship; use hub, none or the path of a file"
        faults.append(Fault(pointer="/backbone/weights", code="conflict", message=message))
    elif weights == "hub" and entry and entry.bundled:
        message = f"{name} is on no hub; its weights ship: use bundled"
        faults.append(Fault(pointer="/backbone/weights", code="conflict", message=message))
    elif weights not in _WEIGHT_WORDS and not weights.endswith(WEIGHT_FILES):
        message = (
            f"must be {', '.join(_WEIGHT_WORDS)} or the path of a {', '.join(WEIGHT_FILES)} file, not {brief(weights)}"
        )
        faults.append(Fault(pointer="/backbone/weights", code="out_of_range", message=message))
    if entry and method:
        known = catalogue.methods[method["name"]]
        faults += _family_faults(known, entry) + _rank_faults(method, known, entry)
    return faults


def _family_faults(method: MethodEntry, backbone: BackboneEntry) -> list[Fault]:
    if backbone.family in method.fits:
        return []
    message = f"{method.name} cannot adapt {backbone.name} ({backbone.family}); it fits {', '.join(method.fits)}"
    return [Fault(pointer="/method/name", code="conflict", message=message)]


def _rank_faults(method: Mapping[str, Any], known: MethodEntry, entry: BackboneEntry) -> list[Fault]:
    rank = method.get("rank")
    if not isinstance(rank, int) or known.params["properties"]["rank"].get("above_width"):
        return []
    qkv_only = method.get("targets", "all") in ("qkv", "q,v")
    layers = {name: min(sides) for name, sides in entry.layers.items() if not qkv_only or name.endswith("qkv")}
    name = min(layers, key=lambda n: layers[n])
    if rank <= layers[name]:
        return []
    message = f"{rank} is wider than {name} ({layers[name]}); use at most {layers[name]}"
    return [Fault(pointer="/method/rank", code="conflict", message=message)]
