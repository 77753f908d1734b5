"""Every row of every recipe of a published benchmark takes a training step and is evaluated, two blocks deep."""

import json
from pathlib import Path
from typing import Any

import pytest
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from pace_core.backbones import vision
from pace_core.backbones.build import timm_family
from pace_core.run import run
from pace_core.spec import Backbone, load_benchmarks, load_recipes, merged, spec_of_recipe, validate
from tests.networks import tiny_timm
from tests.pace_core.data.benchmarks_on_disk import write_domains, write_few_shot, write_fgvc
from tests.pace_core.data.writing import write_vtab_task
from tests.pace_core.training.told import Told

TASKS = {
    "vtab-1k": "kitti",
    "few-shot": "pets/1-shot",
    "fgvc": "oxford_flowers",
    "fgvc-subsets": "oxford_flowers/50-percent",
    "domain-adaptation": "imagenet",
}
ROWS = [
    pytest.param(name, row.label, id=f"{name}-{row.label}")
    for name, recipe in load_recipes().items()
    if recipe.benchmark in TASKS
    for row in recipe.rows
]
SHORT: dict[str, dict[str, Any]] = {
    "noah": {"supernet_epochs": 1, "population": 2, "parents": 2, "mutations": 1, "crossovers": 1, "generations": 1},
    "glora": {"population": 2, "parents": 2, "mutations": 1, "crossovers": 1, "generations": 1},
    "arc": {"rank": 24},
}
"""Searches as short as they can be, and ranks that the small network has room for."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny copy of one task of each benchmark."""
    root = tmp_path_factory.mktemp("data")
    labels = {"train800": [0, 1, 2, 3], "val200": [0, 1], "train800val200": [0, 1, 2, 3, 0, 1], "test": [0, 1, 2, 3]}
    write_vtab_task(root / "vtab" / "kitti", labels)
    write_few_shot(root / "few" / "oxford-pets", 37)
    home = write_fgvc(root / "fgvc" / "OxfordFlower", ".", list(range(1, 103)))
    (home / "train_50.json").write_text(json.dumps({"1/train.jpg": 1, "2/train.jpg": 2}))
    domains = write_domains(root / "domains")
    places = {"vtab-1k": "vtab", "few-shot": "few", "fgvc": "fgvc", "fgvc-subsets": "fgvc"}
    return {**{benchmark: root / place for benchmark, place in places.items()}, "domain-adaptation": domains}


def tiny(backbone: Backbone, num_classes: int, drop_path: float) -> vision.Loaded:
    """The recipe's own network two blocks deep, with random weights."""
    model = tiny_timm(backbone.name, num_classes=num_classes, drop_path_rate=drop_path)
    family = timm_family(backbone.name)
    return vision.Loaded(model, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, 16, "random", family)


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "row"), ROWS)
def test_a_step_and_an_evaluation_of_every_row(
    recipe: str, row: str, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vision, "load", tiny)
    benchmark = load_benchmarks()[load_recipes()[recipe].benchmark]
    task = TASKS[benchmark.name]
    raw = spec_of_recipe(recipe, row, task)
    short = {
        "task": {"path": str(data[benchmark.name])},
        "training": {"epochs": 1, "warmup_epochs": 0, "batch_size": 1000},
        "method": SHORT.get(raw["method"]["name"], {}),
    }
    result = run(validate(merged(raw, short)), Told(), str(tmp_path))
    others = [each.name for each in benchmark.tasks if each.measured_with]
    accuracies = [m for m in result.metrics if m.metric == "accuracy"]
    assert [m.task for m in accuracies] == [f"{benchmark.name}/{name}" for name in (task, *others)]
    assert all(m.split == "test" and 0 <= m.value <= 1 for m in accuracies)
    assert [m.logits for m in accuracies[1:]] == [1000] * len(others)
    assert result.adapter is not None
