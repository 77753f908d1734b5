"""The bundled benchmark: what it promises of its pictures."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pace_core.data import vtab_mini
from pace_core.data._vtab_mini import digits
from pace_core.spec import RunError, load_benchmarks
from tests.pace_core.data.pictures import KEPT, coarse
from tests.pace_core.data.writing import Silent, squashed

TASKS = sorted(vtab_mini.TASKS)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch):
    """Splits of a few pictures."""
    monkeypatch.setattr(vtab_mini, "SIZES", {"train": 40, "val": 20, "test": 30})
    vtab_mini.pictures.cache_clear()
    yield
    vtab_mini.pictures.cache_clear()


def load(task: str, phase: str, train_images: int | None = None, **over):
    given = {"num_classes": None, "preprocessing": squashed(64), "reporter": Silent()} | over
    return vtab_mini.load(vtab_mini.Params(task=task, train_images=train_images), phase=phase, **given)


def test_a_task_has_800_training_200_validation_and_1000_test_images() -> None:
    search, final = load("textures", "search"), load("textures", "final")
    assert (len(search.train), len(search.measured[1]), search.test) == (800, 200, None)
    assert (len(final.train), len(final.measured[1]), final.val) == (1000, 1000, None)
    assert final.train.images.shape[1:] == (64, 64, 3)
    assert (final.train.images[:800] == search.train.images).all()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("phase", ["search", "final"])
def test_fewer_training_images_are_the_first_of_them_and_all_else_stays(phase: str) -> None:
    few, whole = load("textures", phase, train_images=15), load("textures", phase)
    assert len(few.train) == 15
    assert (few.train.images == whole.train.images[:15]).all()
    assert (few.train.labels == whole.train.labels[:15]).all()
    assert (few.measured[1].images == whole.measured[1].images).all()


def test_the_benchmark_lists_every_task_with_its_number_of_classes() -> None:
    benchmark = load_benchmarks()["vtab-mini"]
    listed = {task.params["task"]: task.num_classes for task in benchmark.tasks}
    assert listed == {name: len(module.class_names) for name, module in vtab_mini.TASKS.items()}
    for group in benchmark.groups:
        assert sum(task.group == group.name for task in benchmark.tasks) >= 2


@pytest.mark.parametrize("task", TASKS)
def test_pictures_are_those_that_the_version_stands_for(task: str) -> None:
    with np.load(KEPT) as kept:
        # a hundredth of the range: other versions of FreeType and of the C library may differ in a shade
        np.testing.assert_allclose(coarse(task), kept[task], atol=2.5)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("task", TASKS)
def test_classes_are_balanced_and_splits_share_no_picture(task: str) -> None:
    splits = load(task, "final")
    counts = splits.train.labels.bincount(minlength=splits.num_classes)
    assert counts.max() - counts.min() <= 2
    images = np.concatenate([splits.train.images.numpy(), splits.measured[1].images.numpy()])
    assert len({image.tobytes() for image in images}) == len(images) == 90
    assert images.std(axis=(1, 2, 3)).min() > 3, "an empty picture"


@pytest.mark.usefixtures("small")
def test_a_search_draws_no_test_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: set[str] = set()
    draw = vtab_mini.TASKS["cells"].draw
    watched = replace(vtab_mini.TASKS["cells"], draw=lambda y, split, rng: drawn.add(split) or draw(y, split, rng))
    monkeypatch.setitem(vtab_mini.TASKS, "cells", watched)
    load("cells", "search")
    assert drawn == {"train", "val"}


def test_no_handwritten_digit_is_in_two_splits() -> None:
    pixels, _ = load_digits(return_X_y=True)
    by_split = {s: [d.tobytes() for images in digits.sources(s) for d in images] for s in ("train", "val", "test")}
    assert sum(map(len, by_split.values())) == len(pixels) == 1797
    assert len(set().union(*by_split.values())) == 1797
    assert min(len(images) for split in by_split for images in digits.sources(split)) >= 10


@pytest.mark.usefixtures("small")
def test_other_image_sizes_are_resized_and_progress_is_told() -> None:
    told = Silent()
    splits = load("textures", "search", preprocessing=squashed(32), reporter=told)
    assert splits.train.images.shape == (40, 32, 32, 3)
    assert ("progress", {"stage": "data", "done": 60, "total": 60}) in told.events


def test_a_contradicting_number_of_classes_is_refused() -> None:
    with pytest.raises(RunError, match=r"num_classes.*14.*15"):
        load("textures", "search", num_classes=15)


def test_the_fingerprint_follows_task_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(task: str) -> str:
        return vtab_mini.fingerprint(vtab_mini.Params(task=task), phase="final")

    before = of("cells")
    assert before != of("count")
    monkeypatch.setitem(vtab_mini.TASKS, "cells", replace(vtab_mini.TASKS["cells"], version=99))
    assert of("cells") != before
