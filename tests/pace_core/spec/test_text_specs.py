"""Specs of tasks of texts: what is filled in, and what is refused with the cure."""

from typing import Any

import pytest

from pace_core.spec import SpecError, estimate, load_benchmarks, load_catalogue, load_recipes, validate
from pace_core.spec.recipes import origins, spec_of_recipe

SST2 = {"task": {"name": "glue/sst2"}, "backbone": {"name": "FacebookAI/roberta-base"}, "method": {"name": "lora_add"}}


def faults(**changes: dict[str, Any]) -> list[str]:
    with pytest.raises(SpecError) as refused:
        validate({**SST2, **{name: {**SST2.get(name, {}), **section} for name, section in changes.items()}})
    return [str(fault) for fault in refused.value.faults]


def test_query_and_value_are_adapted_and_dev_is_measured_where_nothing_else_is_said() -> None:
    spec = validate(SST2)
    assert spec.method.params["targets"] == "q,v"
    assert spec.training.drop_path == 0
    assert (spec.task.phase, spec.task.num_classes) == ("search", 2)
    assert validate({**SST2, "method": {"name": "lora_add", "targets": "all"}}).method.params["targets"] == "all"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"backbone": {"name": "pace_vit_mini"}},
            "reads images, and the task is of texts; name a network",
        ),
        ({"backbone": {"image_size": 64}}, "backbone.image_size: is for images"),
        ({"backbone": {"weights": "none"}}, "use hub, or the path of its folder"),
        ({"training": {"mixup": 0.8}}, "training.mixup: is for images"),
        ({"training": {"label_smoothing": 0.1}}, "training.label_smoothing: is for images"),
        ({"training": {"drop_path": 0.1}}, "training.drop_path: is for images"),
        ({"method": {"name": "ssf"}}, "ssf cannot adapt"),
        (
            {"backbone": {"frozen_dtype": "bfloat16"}, "training": {"precision": "float32"}},
            "needs training.precision",
        ),
        ({"method": {"rank": 1000}}, "1000 is wider than"),
        ({"task": {"phase": "final"}}, "source glue has no data for phase 'final'"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, Any], said: str) -> None:
    assert said in " ".join(faults(**change))


def test_a_network_for_texts_is_refused_for_images() -> None:
    with pytest.raises(SpecError, match="reads texts, and the task is of images"):
        validate({**SST2, "task": {"name": "vtab-mini/digits"}})
    with pytest.raises(SpecError, match="an image has no length in tokens"):
        validate({"task": {"name": "vtab-mini/digits"}, "method": {"name": "linear"}, "backbone": {"max_length": 64}})


def test_every_row_of_the_table_has_a_recipe_for_every_task_with_the_origin_of_each_field() -> None:
    recipe = load_recipes()["glue"]
    assert [row.label for row in recipe.rows] == ["Full", "BitFit", "Adapt", "VeRA", "LoRA", "LoRA+PACE"]
    for row in recipe.rows:
        for task in load_benchmarks()["glue"].tasks:
            validate(spec_of_recipe("glue", row.label, task.name))
            assert None not in origins(recipe, row, task.name).values()
    lora = validate(spec_of_recipe("glue", "LoRA", "mrpc"))
    assert (lora.optimizer.lr, lora.training.epochs, lora.training.schedule) == (4e-4, 30, "linear")


def memory(**sections: Any) -> float:
    """GiB of Phi-3-mini under LoRA + PACE on a GPU, by the recipe of GSM8K."""
    raw = spec_of_recipe("gsm8k", "LoRA+PACE", "main", sections)
    found = estimate(validate(raw), load_catalogue(), device="cuda").memory_bytes
    assert found is not None
    return found / 2**30


def test_the_estimate_says_what_little_memory_is_for() -> None:
    assert memory(training={"micro_batch": 1}) < memory()
    small = {"micro_batch": 1, "recompute": True}
    assert memory(training=small) < memory(training={"micro_batch": 1})
    assert memory(training=small, backbone={"frozen_dtype": "bfloat16"}) < 24


def test_an_estimate_grows_with_the_longest_text() -> None:
    raw = spec_of_recipe("glue", "LoRA", "sst2")
    long, short = (
        estimate(validate({**raw, "backbone": {**raw["backbone"], "max_length": length}}), load_catalogue())
        for length in (512, 64)
    )
    assert long.train_gflops_per_image == pytest.approx(8 * short.train_gflops_per_image, rel=0.01)
    assert long.memory_bytes > short.memory_bytes
