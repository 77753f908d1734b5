"""Search for a method's architecture where the spec leaves it open: a supernet is trained, then searched.

Both stages see the training and validation split alone, whatever the phase of the run.
"""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pace_core import methods
from pace_core.backbones.vision import Loaded
from pace_core.data import Images
from pace_core.evaluation import Evaluation
from pace_core.network.search_space import Architecture, SearchParams, Space
from pace_core.noise import keyed_seed
from pace_core.regularizers import Batch, Regularizer, Step
from pace_core.spec import Directive, Interrupted, Reporter, RunSpec
from pace_core.stage import Attempt, Trained, batches, load_backbone, prepare, train_from_scratch, with_architecture
from pace_core.training.checkpoint import Progress, State, save_checkpoint
from pace_core.training.compute import Compute
from pace_core.training.evaluate import accuracy, logits_of
from pace_core.training.evolution import Candidate, evolve
from pace_core.training.loop import Speed, train
from pace_core.training.optimizer import trainable

_SECONDS_BETWEEN_REPORTS = 1.0


def searches(spec: RunSpec) -> bool:
    """Tells whether the spec's method is to find its architecture first."""
    undecided = "search" in _stages(spec) and spec.method.params.get("architecture") is None
    return undecided and spec.training.epochs > 0


def trains_anew(spec: RunSpec) -> bool:
    """Tells whether the architecture is trained from the pretrained network, or keeps the supernet's weights."""
    return "train" in _stages(spec)


def train_by_search(attempt: Attempt, loaded: Loaded) -> Trained:
    """Trains a supernet, searches it for an architecture, and trains that one or takes over the supernet's weights.

    Goes on from where an earlier attempt was. Raises as `run`, with a checkpoint written. The model of `loaded` is
    adapted in place.
    """
    if attempt.checkpoint and attempt.checkpoint.progress.architecture:
        return train_from_scratch(attempt, loaded, attempt.checkpoint.progress.architecture)
    architecture, supernet, speed = _search(attempt)
    if trains_anew(attempt.spec):
        trained = train_from_scratch(attempt, loaded, architecture)
        return replace(trained, speed=Speed(speed.seconds + trained.speed.seconds, trained.speed.images_per_s))
    spec = with_architecture(attempt.spec, architecture)
    stage = prepare(attempt, spec, spec.task.phase, loaded, Progress(architecture=architecture))
    evaluation = Evaluation(stage.state, stage.splits, attempt.compute, spec.training.diagnostics)
    inherit(stage.state.model, supernet.model)
    stage.state.progress.step = supernet.progress.step
    return Trained(stage, evaluation, speed, architecture)


def _search(attempt: Attempt) -> tuple[Architecture, State, Speed]:
    """Returns the best architecture, the trained supernet, and the speed of its training in this attempt."""
    spec, reporter = attempt.spec, attempt.reporter
    method = methods.find(spec.method.name)
    params = method.params.model_validate(spec.method.params)
    loaded = load_backbone(spec)
    stage = prepare(attempt, _of_supernet(spec, params), "search", loaded, Progress(stage="supernet"))
    assert stage.splits.val is not None
    assert method.space is not None, f"{method.name} declares the stage `search` and no space"
    space = method.space(stage.state.model, params)
    state = replace(stage.state, regularizer=_OneArchitectureAStep(stage.state.regularizer, space, spec.seed))
    if attempt.checkpoint:
        state.load(attempt.checkpoint)
    if state.progress.stage == "supernet":
        reporter.event("stage", {"name": "supernet"})
    save = partial(save_checkpoint, state, spec, stage.basis, attempt.folder)
    speed = train(stage.spec, state, batches(stage, attempt.compute), _Renamed(reporter), save, measure=None)

    reporter.event("stage", {"name": "search"})
    state.progress.stage = "search"
    measure = partial(_accuracy, state.model, stage.splits.val, attempt.compute)
    fitness = _Fitness(params, space, state.progress.fitness, measure, reporter, save)
    rng = random.Random(keyed_seed(spec.seed, "search"))
    best = evolve(space, params, params.budget, rng, fitness, fitness.end_generation)
    return best.architecture, state, speed


@torch.no_grad()
def inherit(model: nn.Module, supernet: nn.Module) -> None:
    """Gives the model of one architecture the supernet's weights: the leading part of every tensor."""
    larger = trainable(supernet)
    for name, parameter in trainable(model).items():
        parameter.copy_(larger[name][tuple(slice(size) for size in parameter.shape)])


def _accuracy(model: nn.Module, images: Images, compute: Compute) -> float:
    return accuracy(logits_of(model, images, compute.preprocessing, compute.precision, compute.device), images.labels)


def _stages(spec: RunSpec) -> tuple[str, ...]:
    return methods.find(spec.method.name).stages


def _of_supernet(spec: RunSpec, params: Any) -> RunSpec:
    """The settings of the supernet's training: the method's own where what it finds is trained anew, with the same
    share of warm-up."""
    if not trains_anew(spec):
        return spec
    share = spec.training.warmup / spec.training.epochs
    of_stage = {"epochs": params.supernet_epochs, "warmup_epochs": share * params.supernet_epochs}
    training = spec.training.model_copy(update=of_stage)
    optimizer = spec.optimizer.model_copy(update={"lr": params.supernet_lr})
    return spec.model_copy(update={"training": training, "optimizer": optimizer})


class _OneArchitectureAStep:
    """A regularizer whose every step, with all its passes, sees one random architecture, the step's own."""

    interval = 1

    def __init__(self, regularizer: Regularizer, space: Space, seed: int) -> None:
        self._regularizer, self._space, self._seed = regularizer, space, seed

    def step(self, batch: Batch, step: int) -> Step:
        rng = random.Random(keyed_seed(self._seed, "architecture", step))
        self._space.configure(self._space.sample(rng))
        return self._regularizer.step(batch, step)

    def after_update(self) -> None:
        self._regularizer.after_update()

    def state_dict(self) -> dict[str, Tensor]:
        return self._regularizer.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._regularizer.load_state_dict(state)


class _Renamed:
    """The supernet's training under its own name, beside the training that may follow."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def event(self, type: str, data: dict[str, Any]) -> None:
        if type == "metrics":
            values = {name.replace("train/", "supernet/"): value for name, value in data["values"].items()}
            data = {**data, "values": values}
        elif type == "progress":
            data = {"stage": "supernet", **data}
        self._reporter.event(type, data)

    def directive(self) -> Directive:
        return self._reporter.directive()


class _Fitness:
    """Accuracy of architectures with the supernet's weights; what an earlier attempt measured is not measured again."""

    def __init__(
        self,
        params: SearchParams,
        space: Space,
        known: list[float],
        measure: Callable[[], float],
        reporter: Reporter,
        save: Callable[[], None],
    ) -> None:
        self._params, self._space, self._known = params, space, known
        self._measure, self._reporter, self._save = measure, reporter, save
        self._asked, self._generation, self._before = 0, 0, len(known)
        self._reported = 0.0

    def __call__(self, architecture: Architecture) -> float:
        """Raises Interrupted, with the measurement kept."""
        self._asked += 1
        if self._asked > self._before:
            self._space.configure(architecture)
            self._known.append(self._measure())
            if time.monotonic() - self._reported >= _SECONDS_BETWEEN_REPORTS:
                self._report()
            directive = self._reporter.directive()
            if directive != "continue":
                self._save()
                raise Interrupted(directive)
        return self._known[self._asked - 1]

    def end_generation(self, generation: int, best: Candidate) -> None:
        """Reports the best so far at the end of a generation."""
        if self._asked >= self._before:  # else an earlier attempt has reported it
            size = self._space.num_parameters(best.architecture)
            values = {"search/accuracy": best.fitness, "search/parameters": size}
            self._reporter.event("metrics", {"epoch": generation, "step": self._asked, "values": values})
            self._report()
            self._save()
        self._generation = min(generation + 1, self._params.generations)

    def _report(self) -> None:
        self._reported = time.monotonic()
        progress = {"epoch": self._generation, "epochs": self._params.generations, "step": self._asked}
        steps = self._params.population * (1 + self._params.generations)
        self._reporter.event("progress", {"stage": "search", **progress, "steps": steps})
