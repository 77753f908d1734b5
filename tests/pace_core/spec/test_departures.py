"""A run of a published benchmark says where it is not made as the benchmark's rows are."""

from typing import Any

import pytest

from pace_core.spec import load_catalogue, spec_of_recipe, validate
from pace_core.spec.departures import departures, notices, refusal

PATH = {"task": {"path": "/data/vtab-1k"}}


def of_recipe(row: str, task: str, **over: Any) -> dict[str, Any]:
    return validate(spec_of_recipe("vtab-1k", row, task, {**PATH, **over})).json_dict()


def test_a_run_as_the_recipe_says_departs_nowhere_wherever_its_data_lies() -> None:
    assert departures(of_recipe("PACE", "cifar"), "PACE", load_catalogue()) == []
    harmless = {"training": {"micro_batch": 16, "eval_every": 1}, "backbone": {"weights": "auto"}}
    assert departures(of_recipe("Baseline", "svhn", **harmless), "Baseline", load_catalogue()) == []


@pytest.mark.parametrize(
    ("over", "said"),
    [
        (
            {"backbone": {"normalization": "weights"}},
            "backbone.normalization is 'weights'; recipe vtab-1k says 'imag",
        ),
        ({"backbone": {"weights": "/x.npz"}}, "backbone.weights is '/x.npz'"),
        ({"backbone": {"image_size": 384}}, "backbone.image_size is 384"),
        ({"training": {"augmentation": "crop_flip"}}, "training.augmentation is 'crop_flip'"),
    ],
    ids=["normalisation", "weights", "image size", "augmentation"],
)
@pytest.mark.parametrize("row", ["PACE", "my own row"])
def test_another_normalisation_network_or_augmentation_is_said_of_every_row(
    over: dict[str, Any], said: str, row: str
) -> None:
    (clause,) = departures(of_recipe("PACE", "cifar", **over), row, load_catalogue())
    assert said in clause


def test_what_is_not_set_is_said_in_words() -> None:
    small = validate(spec_of_recipe("vtab-mini", "PACE", "digits", {"backbone": {"image_size": 32}})).json_dict()
    (clause,) = departures(small, "PACE", load_catalogue())
    assert clause == "backbone.image_size is 32; recipe vtab-mini says the network's own"
    run = of_recipe("PACE", "cifar", optimizer={"clip_norm": 1.0, "head_lr": 0.1}, training={"ema_decay": 0.9})
    assert departures(run, "PACE", load_catalogue()) == [
        "optimizer.head_lr is 0.1; recipe vtab-1k says that of optimizer.lr",
        "optimizer.clip_norm is 1.0; recipe vtab-1k says without clipping",
        "training.ema_decay is 0.9; recipe vtab-1k says without",
    ]


def test_a_run_that_no_recipe_can_have_is_not_passed_off_as_one_that_departs_nowhere() -> None:
    wide = {"backbone": {"name": "vit_large_patch16_224.orig_in21k"}, "method": {"name": "lora_add", "rank": 1000}}
    (clause,) = departures(of_recipe("PACE", "cifar", **wide), "my own row", load_catalogue())
    assert clause.startswith("it cannot be compared with recipe vtab-1k, which refuses it: method.rank: 1000 is wider")


@pytest.mark.parametrize("row", ["PACE", "my own row", "Linear"])
def test_scoring_by_the_two_hundred_own_classes_is_said_of_every_row(row: str) -> None:
    raw = spec_of_recipe("domain-adaptation", "PACE", "imagenet", {"task": {"logits": "own"}})
    (clause,) = departures(validate(raw).json_dict(), row, load_catalogue())
    assert "task.logits is 'own'; recipe domain-adaptation" in clause


@pytest.mark.parametrize(("benchmark", "task"), [("few-shot", "pets/1-shot"), ("fgvc", "cub")])
def test_another_transform_is_said_on_the_other_benchmarks_too(benchmark: str, task: str) -> None:
    row = "LoRA_mul+VPT_add"
    plain = validate(spec_of_recipe(benchmark, row, task, {"task": {"path": "/data"}})).json_dict()
    assert departures(plain, row, load_catalogue()) == []
    squashed = validate(spec_of_recipe(benchmark, row, task, {"training": {"augmentation": "none"}})).json_dict()
    for label in (row, "my own row"):
        (clause,) = departures(squashed, label, load_catalogue())
        assert "training.augmentation is 'none'" in clause


def test_draws_of_images_are_no_departure() -> None:
    spec = validate(spec_of_recipe("few-shot", "LoRA_add+PACE", "pets/1-shot", {"task": {"draw": 2}})).json_dict()
    assert departures(spec, "LoRA_add+PACE", load_catalogue()) == []


def test_a_row_of_another_label_has_its_own_length_and_rates() -> None:
    own = {"optimizer": {"lr": 0.1}, "training": {"epochs": 100, "schedule": "step"}, "method": {"name": "linear"}}
    spec = of_recipe("Baseline", "cifar", **own)
    assert departures(spec, "Linear", load_catalogue()) == []
    assert len(departures(spec, "Baseline", load_catalogue())) >= 3


def test_data_of_one_s_own_departs_from_nothing() -> None:
    task = {"name": "mine", "source": "image_folder", "path": "/data/mine"}
    spec = validate({"task": task, "method": {"name": "linear"}}).json_dict()
    assert notices(spec, "PACE", load_catalogue()) == []


def test_what_the_recipe_infers_is_named_until_the_user_chooses() -> None:
    (said,) = notices(of_recipe("PACE", "svhn"), "PACE", load_catalogue())
    assert "regularizer.sigma 1" in said
    assert "regularizer.lambda 0.5" in said
    assert notices(of_recipe("PACE", "cifar"), "PACE", load_catalogue()) == []
    chosen = of_recipe("PACE", "svhn", regularizer={"sigma": 2.0, "lambda": 0.1})
    assert not any("inferred" in notice for notice in notices(chosen, "PACE", load_catalogue()))


def test_a_row_is_not_refused_for_data_that_only_the_user_can_name() -> None:
    assert refusal("vtab-1k", "PACE", "cifar", load_catalogue()) is None
