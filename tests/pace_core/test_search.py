"""Methods that search: one run of several stages, which can be interrupted in each and ends with the same bits."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from pace_core.adapters import Predictor, read_adapter
from pace_core.methods import glora, noah
from pace_core.network.search_space import Architecture, SearchParams
from pace_core.run import run
from pace_core.spec import Directive, Interrupted, RunError, RunResult, RunSpec
from pace_core.training.evolution import Candidate, evolve
from tests.pace_core.training.told import Told

MakeSpec = Callable[..., RunSpec]
SEARCH = {"population": 3, "parents": 2, "mutations": 1, "crossovers": 1, "generations": 2}
GLORA = {"name": "glora", "rank": 2, **SEARCH}
NOAH = {"name": "noah", "sizes": [1, 2], "supernet_epochs": 1, **SEARCH}
PACE = {"name": "pace", "sigma": 1.0, "lambda": 0.5}
EVALUATIONS = 9  # 3 and two generations of 3
BOTH = pytest.mark.parametrize("method", [GLORA, NOAH], ids=lambda m: m["name"])


def tensors(result: RunResult) -> dict[str, torch.Tensor]:
    assert result.adapter
    return load(Path(result.adapter.uri.removeprefix("file://")).read_bytes())


class Scripted(Told):
    """Notes in which stage the run asks, and wants it paused from a number of asking on."""

    def __init__(self, after: int | None = None) -> None:
        super().__init__()
        self.asked_in: list[str] = []
        self._after = after

    def directive(self) -> Directive:
        self.asked_in.append(self.of("stage")[-1]["name"])
        return "continue" if self._after is None or len(self.asked_in) < self._after else "pause"


@pytest.fixture(scope="module")
def whole() -> dict[str, tuple[RunResult, Scripted]]:
    """Uninterrupted runs by the method's name; filled by whoever needs one first."""
    return {}


def uninterrupted(
    spec: RunSpec, folder: Path, whole: dict[str, tuple[RunResult, Scripted]]
) -> tuple[RunResult, Scripted]:
    name = spec.method.name
    if name not in whole:
        told = Scripted()
        whole[name] = run(spec, told, str(folder / "whole")), told
    return whole[name]


def small(make_spec: MakeSpec, method: dict[str, Any], **changes: Any) -> RunSpec:
    """Two steps of training a stage, under PACE, on the final phase."""
    training = {"epochs": 1, "batch_size": 10, "warmup_epochs": 0.5, "drop_path": 0.3}
    return make_spec(method=method, regularizer=PACE, training=training, task__phase="final", **changes)


def test_glora_trains_a_supernet_searches_it_and_keeps_its_weights(
    make_spec: MakeSpec, tmp_path: Path, whole: dict[str, tuple[RunResult, Scripted]]
) -> None:
    spec = small(make_spec, GLORA)
    result, told = uninterrupted(spec, tmp_path, whole)
    stages = [stage["name"] for stage in told.of("stage")]
    assert stages == ["backbone", "data", "supernet", "search", "data", "evaluate", "adapter"]
    assert result.architecture is not None
    assert set(result.architecture) == {f"blocks.{i}.{n}" for i in range(6) for n in NAMES}
    sizes = {name: tensor.numel() for name, tensor in tensors(result).items() if not name.startswith("head.")}
    assert result.adapter_parameters == sum(sizes.values())
    assert {(m.split, m.epoch) for m in result.metrics} == {("test", 1)}


NAMES = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


def test_noah_trains_what_it_found_from_the_pretrained_network(
    make_spec: MakeSpec, tmp_path: Path, whole: dict[str, tuple[RunResult, Scripted]]
) -> None:
    spec = small(make_spec, NOAH)
    result, told = uninterrupted(spec, tmp_path, whole)
    stages = [stage["name"] for stage in told.of("stage")]
    assert stages == ["backbone", "data", "supernet", "search", "data", "train", "evaluate", "adapter"]
    assert result.architecture is not None
    told_what_was_found = small(make_spec, {**NOAH, "architecture": result.architecture})
    alone = run(told_what_was_found, Told(), str(tmp_path / "alone"))
    assert alone.architecture is None  # it was given, not found
    assert alone.metrics == result.metrics
    for name, tensor in tensors(alone).items():
        assert torch.equal(tensor, tensors(result)[name])


@BOTH
def test_events_say_how_far_each_stage_is(
    method: dict[str, Any], make_spec: MakeSpec, tmp_path: Path, whole: dict[str, tuple[RunResult, Scripted]]
) -> None:
    _, told = uninterrupted(small(make_spec, method), tmp_path, whole)
    progress = [data for data in told.of("progress") if "step" in data]
    ends = {data.get("stage", "train"): (data["step"], data["steps"], data["epochs"]) for data in progress}
    searched = {"supernet": (2, 2, 1), "search": (EVALUATIONS, EVALUATIONS, 2)}
    assert ends == searched | ({"train": (3, 3, 1)} if method is NOAH else {})
    metrics = told.of("metrics")
    assert [m["epoch"] for m in metrics if "search/accuracy" in m["values"]] == [0, 1, 2]
    best = [m["values"]["search/accuracy"] for m in metrics if "search/accuracy" in m["values"]]
    assert best == sorted(best)
    assert [m["epoch"] for m in metrics if "supernet/loss_consistency" in m["values"]] == [1]
    assert [m["epoch"] for m in metrics if "test/accuracy" in m["values"]] == [1]


@BOTH
def test_the_test_split_stays_closed_until_the_search_is_over(
    method: dict[str, Any], make_spec: MakeSpec, pictures: Path, tmp_path: Path
) -> None:
    """Without test images a final run cannot end, and finds that out only when it opens them."""
    for split in ("train", "val"):
        (tmp_path / "data" / split).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / split).symlink_to(pictures / split)
    told = Told()
    with pytest.raises(RunError, match="no test folder"):
        run(small(make_spec, method, task__path=str(tmp_path / "data")), told, str(tmp_path / "run"))
    assert [stage["name"] for stage in told.of("stage")][-2:] == ["search", "data"]
    assert [data for data in told.of("progress") if "step" in data][-1]["step"] == EVALUATIONS


@BOTH
def test_a_run_interrupted_in_every_stage_ends_with_the_same_adapter(
    method: dict[str, Any], make_spec: MakeSpec, tmp_path: Path, whole: dict[str, tuple[RunResult, Scripted]]
) -> None:
    """Paused at every point at which it can be: after each step of training and each evaluation of the search."""
    spec = small(make_spec, method)
    expected, told = uninterrupted(spec, tmp_path, whole)
    asked = len(told.asked_in)
    steps = 2 + 3 if method is NOAH else 2
    assert asked == steps + EVALUATIONS
    earlier, stages, result = None, [], None
    for attempt in range(asked + 1):
        folder, told = str(tmp_path / str(attempt)), Scripted(after=1)
        try:
            result = run(spec, told, folder, resume_from=earlier)
            break
        except Interrupted:
            stages.append(told.asked_in[-1])
            earlier = folder
    assert stages == ["supernet", *["search"] * EVALUATIONS, *(["train"] * 2 if method is NOAH else [])]
    assert result is not None
    assert result.architecture == expected.architecture
    assert result.metrics == expected.metrics
    assert result.adapter
    assert expected.adapter
    assert result.adapter.sha256 == expected.adapter.sha256


@BOTH
def test_a_run_killed_in_the_search_goes_on_from_the_last_generation(
    method: dict[str, Any], make_spec: MakeSpec, tmp_path: Path, whole: dict[str, tuple[RunResult, Scripted]]
) -> None:
    spec = small(make_spec, method)
    expected, _ = uninterrupted(spec, tmp_path, whole)

    class Killed(Scripted):
        def directive(self) -> Directive:
            if super().directive() == "pause":
                raise SystemError("killed")
            return "continue"

    with pytest.raises(SystemError):
        run(spec, Killed(after=2 + 5), str(tmp_path / "1"))  # two evaluations after the first population
    told = Scripted()
    result = run(spec, told, str(tmp_path / "2"), resume_from=str(tmp_path / "1"))
    assert told.asked_in.count("search") == EVALUATIONS - 3
    assert result.adapter
    assert expected.adapter
    assert result.adapter.sha256 == expected.adapter.sha256


@BOTH
def test_the_adapter_of_a_search_predicts_as_the_run_measured(
    method: dict[str, Any],
    make_spec: MakeSpec,
    pictures: Path,
    tmp_path: Path,
    whole: dict[str, tuple[RunResult, Scripted]],
) -> None:
    result, _ = uninterrupted(small(make_spec, method), tmp_path, whole)
    assert result.adapter
    file = read_adapter(result.adapter.uri)
    assert json.loads(json.dumps(file.spec.method.params["architecture"])) == result.architecture
    files = sorted((pictures / "test").rglob("*.png"))
    found = Predictor(file).of_files([str(path) for path in files])
    right = sum(name == path.parent.name for (name, _), path in zip(found, files, strict=True))
    assert right / len(files) == pytest.approx(result.value("test"))


def test_the_supernets_step_shares_one_architecture_whatever_its_passes(make_spec: MakeSpec, tmp_path: Path) -> None:
    """Were every pass to draw its own, micro-batches would change the loss."""
    losses = []
    for micro_batch in (None, 3):
        told = Told()
        spec = small(make_spec, {**GLORA, "generations": 0})
        training = spec.training.model_copy(update={"micro_batch": micro_batch, "precision": "float64"})
        run(spec.model_copy(update={"training": training}), told, str(tmp_path / str(micro_batch)))
        losses += [m["values"]["supernet/loss"] for m in told.of("metrics") if "supernet/loss" in m["values"]]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_without_epochs_the_pretrained_network_is_evaluated_and_nothing_is_searched(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    told = Told()
    result = run(make_spec(method=GLORA, training={"epochs": 0}), told, str(tmp_path))
    assert "search" not in [stage["name"] for stage in told.of("stage")]
    assert result.architecture is None


def test_a_budget_that_nothing_meets_is_refused(make_spec: MakeSpec, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"method\.budget: 1 is below every architecture") as refused:
        run(small(make_spec, {**NOAH, "budget": 1}), Told(), str(tmp_path))
    assert refused.value.reason == "spec_invalid"


class Bits:
    """A space whose best architecture is known: fitness counts the ones."""

    def __init__(self, length: int) -> None:
        self.length = length

    def sample(self, rng: random.Random) -> Architecture:
        return {"bits": [rng.randrange(2) for _ in range(self.length)]}

    def mutated(self, parent: Architecture, rng: random.Random) -> Architecture:
        return {"bits": [1 - bit if rng.random() < 0.1 else bit for bit in parent["bits"]]}

    def crossed(self, first: Architecture, second: Architecture, rng: random.Random) -> Architecture:
        return {"bits": [rng.choice(pair) for pair in zip(first["bits"], second["bits"], strict=True)]}

    def num_parameters(self, architecture: Architecture) -> int:
        return sum(architecture["bits"])

    def configure(self, architecture: Architecture) -> None:
        raise AssertionError("the evaluation does that")


def evolved(seed: int, budget: int = 100, length: int = 24) -> tuple[list[Architecture], Candidate]:
    seen: list[Architecture] = []

    def fitness(architecture: Architecture) -> float:
        seen.append(architecture)
        return float(sum(architecture["bits"]))

    best = evolve(Bits(length), SearchParams(), budget, random.Random(seed), fitness, lambda *_: None)
    return seen, best


def test_evolution_finds_what_chance_would_not() -> None:
    seen, best = evolved(seed=0)
    assert len(seen) == 50 + 20 * 50
    assert best.fitness >= 23  # of 24; the best of 1,050 random ones has about 20


def test_evolution_follows_from_its_seed() -> None:
    assert evolved(seed=1) == evolved(seed=1)
    assert evolved(seed=1)[0] != evolved(seed=2)[0]


def test_evolution_keeps_to_the_budget_and_asks_for_nothing_twice() -> None:
    seen, best = evolved(seed=0, budget=14)
    assert all(sum(architecture["bits"]) <= 14 for architecture in seen)
    assert best.fitness == 14
    assert len({json.dumps(architecture) for architecture in seen}) == len(seen)


def test_a_space_smaller_than_the_population_is_searched_whole() -> None:
    seen, best = evolved(seed=0, length=3)
    assert len(seen) == 8
    assert best.architecture == {"bits": [1, 1, 1]}


def test_the_papers_searches_are_the_defaults() -> None:
    assert glora.Params().population * (1 + glora.Params().generations) == 1050
    assert noah.Params().population * (1 + noah.Params().generations) == 800
    assert (noah.Params().supernet_epochs, noah.Params().supernet_lr, noah.Params().budget) == (500, 5e-4, 640_000)
