"""The contract between user, service, worker and core. Loads without torch, timm or numpy."""

from pace_core.spec.benchmarks import (
    Benchmark,
    BenchmarkTask,
    DataPart,
    Group,
    PublishedRow,
    PublishedTable,
    bibtex_of,
    find_task,
    load_benchmarks,
    load_bibliography,
    load_published,
    published_beside,
)
from pace_core.spec.catalogue import Catalogue, load_catalogue
from pace_core.spec.cell import cell_hash
from pace_core.spec.errors import Fault, Interrupted, RunError, SpecError
from pace_core.spec.estimate import Estimate, estimate, expected_images
from pace_core.spec.events import Directive, Event, EventType, Reporter
from pace_core.spec.lifecycle import ENDED, INFRASTRUCTURE, LEASED, MOVES, REASONS, EndReason, Move, State
from pace_core.spec.params import ParamsModel
from pace_core.spec.recipes import Recipe, RecipeRow, load_recipes, merged, spec_of_recipe
from pace_core.spec.result import RESULTS_VERSION, Adapter, Metric, Provenance, RunResult
from pace_core.spec.run_spec import Backbone, Chosen, Optimizer, Resources, RunSpec, Task, Training
from pace_core.spec.validate import validate, validate_often

__all__ = [
    "ENDED",
    "INFRASTRUCTURE",
    "LEASED",
    "MOVES",
    "REASONS",
    "RESULTS_VERSION",
    "Adapter",
    "Backbone",
    "Benchmark",
    "BenchmarkTask",
    "Catalogue",
    "Chosen",
    "DataPart",
    "Directive",
    "EndReason",
    "Estimate",
    "Event",
    "EventType",
    "Fault",
    "Group",
    "Interrupted",
    "Metric",
    "Move",
    "Optimizer",
    "ParamsModel",
    "Provenance",
    "PublishedRow",
    "PublishedTable",
    "Recipe",
    "RecipeRow",
    "Reporter",
    "Resources",
    "RunError",
    "RunResult",
    "RunSpec",
    "SpecError",
    "State",
    "Task",
    "Training",
    "bibtex_of",
    "cell_hash",
    "estimate",
    "expected_images",
    "find_task",
    "load_benchmarks",
    "load_bibliography",
    "load_catalogue",
    "load_published",
    "load_recipes",
    "merged",
    "published_beside",
    "spec_of_recipe",
    "validate",
    "validate_often",
]
