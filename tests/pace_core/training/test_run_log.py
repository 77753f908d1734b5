"""A run says how it goes, and what makes its result doubtful."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pace_core.run import run
from pace_core.spec import RunSpec, validate
from pace_core.training.checkpoint import Progress
from pace_core.training.run_log import standard_error, warnings
from perf.shapes import draw_shapes
from tests.pace_core.training.told import Told


def spec_of(**training: Any) -> RunSpec:
    return validate({"task": {"name": "vtab-mini/digits"}, "method": {"name": "linear"}, "training": training})


def warned(
    accuracy: float, counts: list[int], losses: list[float] | None = None, step: int = 30, **training: Any
) -> list[str]:
    progress = Progress(step=step, losses=losses or [2.0, 1.0])
    return list(warnings(spec_of(**({"epochs": 3} | training)), progress, "test", accuracy, counts))


def test_three_epochs_and_nothing_else_learn_sixty_images_of_three_classes(tmp_path: Path) -> None:
    draw_shapes(tmp_path / "shapes", {"train": 20, "val": 10})
    task = {"name": "shapes", "source": "image_folder", "path": str(tmp_path / "shapes"), "phase": "search"}
    told = Told()
    result = run(
        validate({"task": task, "method": {"name": "lora_add"}, "training": {"epochs": 3}}), told, str(tmp_path / "run")
    )
    accuracy = result.value("val")
    assert accuracy is not None
    assert accuracy > 1 / 3 + 0.3
    assert result.metrics[0].samples == 30
    said = "\n".join(line["message"] for line in told.of("log"))
    assert "lora_add trains" in said
    assert "3 epochs of 3 steps with 16 images each" in said
    assert "task.phase is search: val is measured" in said
    assert "epoch 1 of 3: loss" in said
    assert f"val accuracy {100 * accuracy:.1f} % of 30 images, one standard error ±" in said
    assert not any("chance" in line["message"] for line in told.of("log"))


def test_a_good_result_on_enough_images_is_not_doubted() -> None:
    assert warned(0.8, [100, 100, 100]) == []


@pytest.mark.parametrize(("accuracy", "doubted"), [(0.33, True), (0.36, True), (0.50, False)])
def test_a_result_at_chance_is_told_with_its_margin(accuracy: float, doubted: bool) -> None:
    found = warned(accuracy, [100, 100, 100])
    assert [said for said in found if "no better than chance" in said and "33.3 % (± 5.4 points" in said] == (
        found if doubted else []
    )


def test_chance_is_the_share_of_the_commonest_class() -> None:
    (said,) = warned(0.9, [270, 30])
    assert "always naming the commonest class gives 90.0 %" in said


def test_few_images_are_told_by_their_standard_error() -> None:
    (said,) = warned(0.8, [10, 10, 10])
    assert "30 images of test make one standard error" in said
    assert standard_error(0.5, 96) == pytest.approx(0.05)


def test_a_loss_that_did_not_fall_is_told() -> None:
    (said,) = warned(0.8, [100, 100, 100], losses=[1.0, 0.9, 1.1])
    assert "training loss did not fall: 1 in the first epoch, 1.1 in the last" in said


def test_a_rate_that_never_left_the_warm_up_is_told() -> None:
    (said,) = warned(0.8, [100, 100, 100], step=1, epochs=1)  # one step, at warmup_lr
    assert "never left the warm-up: 1e-06 of 0.005" in said
    assert "warmup_epochs to 0" in said


def test_a_resumed_run_tells_of_the_whole_training(make_spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    spec = make_spec()
    told = Told("pause", 4)
    with pytest.raises(Exception, match="pause"):
        run(spec, told, str(tmp_path / "1"))
    again = Told()
    run(spec, again, str(tmp_path / "2"), resume_from=str(tmp_path / "1"))
    lines = [line["message"].partition(":")[0] for line in (*told.of("log"), *again.of("log"))]
    assert [line for line in lines if line.startswith("epoch")] == ["epoch 1 of 2", "epoch 2 of 2"]
