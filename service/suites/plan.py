"""The runs of a SuiteRequest: which spec each has, or why the row cannot run on the task."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pace_core.spec import (
    Benchmark,
    BenchmarkTask,
    Catalogue,
    Fault,
    Group,
    Recipe,
    RunSpec,
    SpecError,
    load_benchmarks,
    load_recipes,
    merged,
    spec_of_recipe,
    validate,
)
from pace_core.spec.departures import recipes_of
from pace_core.spec.suggest import did_you_mean
from service.problems import Invalid
from service.studies.schemas import Dimension, SearchSettings, StudyRequest
from service.studies.space import PAPERS_GRID
from service.studies.submission import resolved
from service.suites.schemas import MOST_RUNS, SuiteRequest, SuiteRow


class Key(NamedTuple):
    """Names a run within its suite."""

    row: str
    task: str
    seed: int
    draw: int
    """Of training images; 0 where the benchmark has one draw alone."""


@dataclass(frozen=True)
class Run:
    """One row on one task with one seed, on one draw of training images."""

    row: str
    task: str
    """Name within the benchmark, or the user's own."""
    seed: int
    draw: int
    spec: RunSpec | None
    """Resolved; None where the row cannot run on the task."""
    refused: str | None

    @property
    def key(self) -> Key:
        return Key(self.row, self.task, self.seed, self.draw)


@dataclass(frozen=True)
class Search:
    """One row's study on one task."""

    request: StudyRequest
    """With its space filled in, of the fields that the row has."""
    spec: RunSpec
    """Of the row before it is searched."""


@dataclass(frozen=True)
class Plan:
    """A suite's request with all that it leaves open filled in."""

    request: SuiteRequest
    benchmark: Benchmark
    """With the suite's tasks only, and those that their runs measure too; made up for tasks of the user's own."""
    known: bool
    """Whether it is a benchmark of the catalogue."""
    rows: list[str]
    """Labels."""
    runs: list[Run]
    """The first seed and draw of every row and task first, so that the whole table fills evenly."""
    searches: Mapping[tuple[str, str], Search]
    """Row and task → what is searched before its runs."""

    @property
    def tasks(self) -> list[str]:
        """The tasks that have runs of their own."""
        return [task.name for task in self.benchmark.trained]

    @property
    def draws(self) -> list[int]:
        """Draws of training images that its runs are on."""
        return sorted({run.draw for run in self.runs})


def plan(request: SuiteRequest, catalogue: Catalogue) -> Plan:
    """Returns the suite's runs. Raises Invalid with all faults of the request, and where not one of its runs can be."""
    benchmark, tasks = _tasks(request)
    known = benchmark.name in load_benchmarks()
    recipe = _recipe(request, benchmark)
    rows = _rows(request.rows, recipe)
    backbones: list[dict[str, Any]] = [{"name": b} if isinstance(b, str) else b for b in request.backbones]
    seeds = list(dict.fromkeys(request.seeds))
    draws = _draws(request, benchmark)
    if len(rows) * max(len(backbones), 1) * len(tasks) * len(seeds) * len(draws) > MOST_RUNS:
        raise _invalid("/rows", "out_of_range", f"a suite has at most {MOST_RUNS:,} runs; give fewer rows or seeds")
    labels: dict[str, str] = {}
    found: list[tuple[str, str, RunSpec | SpecError]] = []
    of_draw: dict[int, list[tuple[str, str, RunSpec | SpecError]]] = {}
    raws: list[dict[str, Any]] = []
    for index, row in enumerate(rows):
        for backbone in backbones or [{}]:
            for task, section in tasks.items():
                raw = _raw(recipe, row, task, section)
                label = row.label or row.row or _label(raw)
                if len(backbones) > 1:
                    label = f"{label} ({backbone.get('name')})"
                label = label if len(label) <= 200 else f"{label[:199]}…"
                where = f"/rows/{index}/{sorted(str(b) for b in backbone.items())}"
                if labels.setdefault(label, where) != where:
                    message = f"two rows have the label {label!r}; give each a `label` of its own"
                    raise _invalid(f"/rows/{index}", "conflict", message)
                for layer in ({"backbone": backbone} if backbone else {}, request.overrides):
                    raw = merged(raw, layer)
                raw = merged(raw, {"task": {"name": section["name"], "phase": request.phase}})
                of_task = draws
                if benchmark.draws > 1:
                    fixed = raw["task"].get("draw")
                    of_task = [fixed] if isinstance(fixed, int) and not isinstance(fixed, bool) else draws
                    raw = merged(raw, {"task": {"draw": of_task[0] if fixed is None else fixed}})
                raws.append(raw)
                try:
                    made: RunSpec | SpecError = validate(raw, catalogue)
                except SpecError as error:
                    made = error
                found.append((label, task, made))
                for draw in of_task:
                    of_draw.setdefault(draw, []).append((label, task, made))
    faults = [spec.faults for _, _, spec in found if isinstance(spec, SpecError)]
    if len(faults) == len(found):
        raise Invalid("none of the suite's runs is possible; these are the faults of the first", faults[0])
    runs = [
        _run(label, task, spec, seed, draw)
        for seed in seeds
        for draw, each in sorted(of_draw.items())
        for label, task, spec in each
    ]
    searches = _searches(request, seeds[0], found, raws, catalogue) if request.search else {}
    return Plan(request, benchmark, known, list(labels), runs, searches)


def _searches(
    request: SuiteRequest,
    seed: int,
    found: Sequence[tuple[str, str, RunSpec | SpecError]],
    raws: Sequence[dict[str, Any]],
    catalogue: Catalogue,
) -> dict[tuple[str, str], Search]:
    """Row and task → its search. Raises Invalid for a field that no row has, and where a space makes no study."""
    settings = request.search
    assert settings is not None
    space = settings.space or PAPERS_GRID
    searches: dict[tuple[str, str], Search] = {}
    used: set[str] = set()
    for (label, task, spec), raw in zip(found, raws, strict=True):
        if isinstance(spec, SpecError) or not (own := _own_fields(space, spec)):
            continue
        used |= own.keys()
        asked = StudyRequest(
            **{name: getattr(settings, name) for name in SearchSettings.model_fields if name != "space"},
            space=own,
            name=f"{label} on {task}"[:200],
            spec=raw,
            row=label,
            seed=seed,
            seeds=[],
            priority=request.priority,
            tags=request.tags,
        )
        try:
            filled, base, _ = resolved(asked, catalogue)
        except Invalid as error:
            placed = [fault.model_copy(update={"pointer": f"/search{fault.pointer}"}) for fault in error.faults]
            raise Invalid(error.detail, placed) from None
        searches[label, task] = Search(filled, base)
    faults = [
        Fault(pointer=f"/search/space/{path}", code="unknown_name", message="no row of the suite has this field")
        for path in space.keys() - used
    ]
    if faults:
        raise Invalid("the request has faults", sorted(faults, key=lambda fault: fault.pointer))
    return searches


def _own_fields(space: Mapping[str, Dimension], spec: RunSpec) -> dict[str, Dimension]:
    """The fields of the space that the spec has, and those that one of them brings."""
    said = spec.json_dict()
    own: dict[str, Dimension] = {}
    for path, dimension in sorted(space.items(), key=lambda item: bool(item[1].when)):
        section, _, field = path.partition(".")
        if field in (said.get(section) or {}) if not dimension.when else dimension.when.keys() <= own.keys():
            own[path] = dimension
    return {path: space[path] for path in space if path in own}


def _run(label: str, task: str, spec: RunSpec | SpecError, seed: int, draw: int) -> Run:
    if isinstance(spec, SpecError):
        return Run(label, task, seed, draw, None, "; ".join(str(fault) for fault in spec.faults))
    return Run(label, task, seed, draw, spec_of(spec, seed, draw), None)


def spec_of(spec: RunSpec, seed: int, draw: int) -> RunSpec:
    """Returns the spec with that seed, and with that draw where its task has draws."""
    task = spec.task.model_copy(update={"draw": draw}) if "draw" in spec.task.params else spec.task
    return spec.model_copy(update={"seed": seed, "task": task})


def _draws(request: SuiteRequest, benchmark: Benchmark) -> list[int]:
    """The asked draws, all of the benchmark's if none. Raises Invalid for those that it does not have."""
    if not request.draws:
        return list(range(benchmark.draws))
    if benchmark.draws == 1:
        message = f"{benchmark.name} has one draw of training images; leave `draws` out, and repeat runs by `seeds`"
        raise _invalid("/draws", "conflict", message)
    if (highest := max(request.draws)) >= benchmark.draws:
        message = f"{benchmark.name} has no draw {highest}; its draws are 0 to {benchmark.draws - 1}"
        raise _invalid(f"/draws/{request.draws.index(highest)}", "out_of_range", message)
    task: Any = request.overrides.get("task")
    if isinstance(task, dict) and "draw" in task:
        raise _invalid("/overrides/task/draw", "conflict", "give `draws` or task.draw, not both")
    return sorted(set(request.draws))


def _tasks(request: SuiteRequest) -> tuple[Benchmark, dict[str, dict[str, Any]]]:
    """The benchmark with the asked tasks only, and task → section of a spec."""
    own = [task for task in request.tasks if not isinstance(task, str)]
    names = [task for task in request.tasks if isinstance(task, str)]
    if own:
        return _own_tasks(request, own, names)
    prefixes = {name.partition("/")[0] for name in names if "/" in name}
    said = request.benchmark or (prefixes.pop() if len(prefixes) == 1 else None)
    if said is None:
        message = "name a benchmark, tasks of one such as vtab-mini/digits, or tasks of your own as a spec has them"
        raise _invalid("/benchmark", "missing", message)
    benchmark = load_benchmarks().get(said)
    if benchmark is None:
        message = f"there is no benchmark {said!r}{did_you_mean(said, load_benchmarks())}"
        raise _invalid("/benchmark", "unknown_name", message)
    chosen: list[str] = []
    faults: list[Fault] = []
    for index, name in enumerate(names):
        task = benchmark.task(name.removeprefix(f"{benchmark.name}/"))
        if task is None:
            message = f"{benchmark.name} has no task {name!r}{did_you_mean(name, [t.name for t in benchmark.tasks])}"
            faults.append(Fault(pointer=f"/tasks/{index}", code="unknown_name", message=message))
        elif task.measured_with:
            message = f"{task.name} is measured by every run of {task.measured_with}; name that task"
            faults.append(Fault(pointer=f"/tasks/{index}", code="conflict", message=message))
        else:
            chosen.append(task.name)
    if faults:
        raise Invalid("the request has faults", faults)
    run = {task.name for task in benchmark.trained if task.name in chosen or not names}
    tasks = [task for task in benchmark.tasks if task.name in run or task.measured_with in run]
    groups = [group for group in benchmark.groups if any(task.group == group.name for task in tasks)]
    narrowed = benchmark.model_copy(update={"tasks": tasks, "groups": groups})
    return narrowed, {task.name: {"name": f"{benchmark.name}/{task.name}"} for task in narrowed.trained}


def _own_tasks(
    request: SuiteRequest, own: Sequence[dict[str, Any]], names: list[str]
) -> tuple[Benchmark, dict[str, dict[str, Any]]]:
    if names or request.benchmark is not None:
        raise _invalid("/tasks", "conflict", "a suite has tasks of a benchmark or tasks of your own, not both")
    sections: dict[str, dict[str, Any]] = {}
    for index, section in enumerate(own):
        name = section.get("name")
        if not isinstance(name, str) or not name or name in sections:
            raise _invalid(f"/tasks/{index}/name", "wrong_type", "must be a name, different for each task")
        sections[name] = section
    group = Group(name="own", title="Own")
    tasks = [
        BenchmarkTask(name=name, title=name, group=group.name, source=str(section.get("source")), num_classes=0)
        for name, section in sections.items()
    ]
    title = ", ".join(sections)
    benchmark = Benchmark(
        name=title,
        title=title,
        metric="accuracy",
        mean="mean_of_tasks",
        protocol="tasks of the users' own",
        groups=[group],
        tasks=tasks,
    )
    return benchmark, sections


def _recipe(request: SuiteRequest, benchmark: Benchmark) -> Recipe | None:
    known = recipes_of(benchmark.name)
    if request.recipe is None:
        return known[0] if known else None
    found = load_recipes().get(request.recipe)
    if found is None or found.benchmark != benchmark.name:
        names = [recipe.name for recipe in known]
        message = f"{benchmark.name} has no recipe {request.recipe!r}{did_you_mean(request.recipe, names)}"
        raise _invalid("/recipe", "unknown_name", message)
    return found


def _rows(asked: Sequence[str | SuiteRow], recipe: Recipe | None) -> list[SuiteRow]:
    rows: list[SuiteRow] = []
    faults: list[Fault] = []
    for index, given in enumerate(asked):
        row = SuiteRow(row=given) if isinstance(given, str) else given
        if row.row is None and not row.spec:
            message = "a row names one of the recipe's (`row`), has settings (`spec`), or both"
            faults.append(Fault(pointer=f"/rows/{index}", code="missing", message=message))
        elif row.row is not None:
            known = recipe.row(row.row) if recipe else None
            if known is None:
                labels = [r.label for r in recipe.rows] if recipe else []
                hint = did_you_mean(row.row, labels) if recipe else "; tasks of your own have none"
                message = f"there is no row {row.row!r}{hint}"
                faults.append(Fault(pointer=f"/rows/{index}", code="unknown_name", message=message))
            else:
                row = row.model_copy(update={"row": known.label})
        if row not in rows:
            rows.append(row)
    if faults:
        raise Invalid("the request has faults", faults)
    return rows


def _raw(recipe: Recipe | None, row: SuiteRow, task: str, section: dict[str, Any]) -> dict[str, Any]:
    if recipe and row.row:
        return spec_of_recipe(recipe.name, row.row, task, row.spec)
    raw: dict[str, Any] = {"task": section}
    for layer in _defaults(recipe, task):
        raw = merged(raw, layer)
    return merged(raw, row.spec)


def _defaults(recipe: Recipe | None, task: str) -> Iterator[dict[str, Any]]:
    if recipe:
        yield recipe.defaults
        yield recipe.tasks.get(task, {})


def _label(raw: dict[str, Any]) -> str:
    def name(section: str) -> str:
        given = raw.get(section)
        return str(given.get("name", "none")) if isinstance(given, dict) else "none"  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]

    return name("method") if name("regularizer") == "none" else f"{name('method')} + {name('regularizer')}"


def _invalid(pointer: str, code: str, message: str) -> Invalid:
    return Invalid("the request has faults", [Fault(pointer=pointer, code=code, message=message)])
