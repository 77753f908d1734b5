"""A recipe gives the settings of a row on a task; what the user gives wins."""

import pytest

from pace_core.spec import SpecError, load_benchmarks, load_published, load_recipes, merged, spec_of_recipe, validate
from pace_core.spec.recipes import Recipe, origins

ROWS = [(recipe, row.label) for recipe in load_recipes().values() for row in recipe.rows]


@pytest.mark.parametrize(("recipe", "row"), ROWS, ids=lambda value: value.name if isinstance(value, Recipe) else value)
def test_every_row_resolves_on_every_task(recipe: Recipe, row: str) -> None:
    for task in load_benchmarks()[recipe.benchmark].trained:
        spec = validate(spec_of_recipe(recipe.name, row, task.name))
        assert spec.task.name == f"{recipe.benchmark}/{task.name}"


def test_what_the_user_gives_wins_over_the_recipe() -> None:
    raw = spec_of_recipe("vtab-mini", "LoRA_add", "digits", {"method": {"rank": 2}, "seed": 7})
    spec = validate(raw)
    assert (spec.method.name, spec.method.params["rank"], spec.seed) == ("lora_add", 2, 7)


def test_another_name_in_a_section_replaces_the_whole_section() -> None:
    assert merged({"method": {"name": "lora_add", "rank": 4}}, {"method": {"name": "linear"}}) == {
        "method": {"name": "linear"}
    }


def test_an_unknown_row_names_the_near_one() -> None:
    with pytest.raises(SpecError, match="did you mean 'LoRA_add'"):
        spec_of_recipe("vtab-mini", "LoRA-add", "digits")


@pytest.mark.parametrize("recipe", load_recipes().values(), ids=lambda recipe: recipe.name)
def test_every_field_of_every_row_says_where_its_value_comes_from(recipe: Recipe) -> None:
    assert recipe.source or recipe.origin == "ours"
    for row in recipe.rows:
        for task in load_benchmarks()[recipe.benchmark].trained:
            of_fields = origins(recipe, row, task.name)
            assert of_fields
            assert not [field for field, origin in of_fields.items() if origin is None]
            sections = {field.partition(".")[0] for field in of_fields}
            said = {*recipe.origins, *row.origins, *row.task_origins.get(task.name, {})}
            assert said <= {*of_fields, *sections}, "an origin of a field that the recipe does not set"


TABLE_16 = {  # method, rank, lr, weight decay
    "cifar": ("lora_mul_vpt_add", 10, 1e-3, 1e-4),
    "svhn": ("lora_mul_vpt_add", 14, 1e-2, 1e-3),
    "diabetic_retinopathy": ("lora_add", 2, 5e-4, 1e-4),
    "smallnorb_azi": ("lora_mul_vpt_add", 22, 1e-2, 1e-2),
    "smallnorb_ele": ("lora_add", 4, 2e-4, 1e-2),
}


@pytest.mark.parametrize("row", ["Baseline", "PACE", "PACE_fast", "PACE_lazy_half"])
def test_vtab_1k_has_the_paper_s_settings(row: str) -> None:
    for task, (method, rank, lr, decay) in TABLE_16.items():
        spec = validate(spec_of_recipe("vtab-1k", row, task, {"task": {"path": "/data/vtab-1k"}}))
        assert (spec.method.name, spec.method.params["rank"]) == (method, rank)
        assert (spec.optimizer.name, spec.optimizer.lr, spec.optimizer.weight_decay) == ("adamw", lr, decay)
        training, backbone = spec.training, spec.backbone
        assert (training.epochs, training.batch_size, training.drop_path) == (300, 64, 0.1)
        assert (training.schedule, training.warmup_epochs, training.precision) == ("epoch", 10, "float32")
        assert (backbone.name, backbone.normalization) == ("vit_base_patch16_224.orig_in21k", "imagenet")


def test_the_one_published_pair_of_vtab_1k_is_marked_as_such_and_the_others_are_not() -> None:
    recipe = load_recipes()["vtab-1k"]
    row = recipe.row("PACE")
    assert row
    pair = ("regularizer.sigma", "regularizer.lambda")
    assert [origins(recipe, row, "cifar")[field] for field in pair] == ["published"] * 2
    assert [origins(recipe, row, "svhn")[field] for field in pair] == ["inferred"] * 2
    cifar = spec_of_recipe("vtab-1k", "PACE", "cifar100")["regularizer"]
    assert (cifar["sigma"], cifar["lambda"]) == (1.2, 1.0)


@pytest.mark.parametrize("benchmark", ["vtab-1k", "few-shot", "fgvc", "fgvc-subsets", "domain-adaptation"])
def test_every_row_that_the_paper_prints_for_a_benchmark_has_a_recipe(benchmark: str) -> None:
    labels = {row.label for recipe in load_recipes().values() if recipe.benchmark == benchmark for row in recipe.rows}
    assert {row.label for row in load_published()[benchmark].rows} <= labels


def test_the_settings_of_the_paper_s_other_tables() -> None:
    cars = validate(spec_of_recipe("few-shot", "LoRA_mul+VPT_add+PACE", "cars/4-shot"))
    assert (cars.method.params["rank"], cars.optimizer.lr, cars.optimizer.weight_decay) == (24, 2e-3, 1e-4)
    assert (cars.training.epochs, cars.training.augmentation, cars.task.params["shots"]) == (100, "crop_flip", 4)
    flowers = spec_of_recipe("few-shot", "VPT_add+PACE", "flowers102/1-shot")["regularizer"]
    assert (flowers["sigma"], flowers["lambda"]) == (1.5, 1.0)
    dogs = validate(spec_of_recipe("fgvc", "PACE", "stanford_dogs"))
    assert (dogs.method.params["rank"], dogs.optimizer.lr, dogs.optimizer.weight_decay) == (24, 5e-3, 1e-2)
    imagenet = validate(spec_of_recipe("domain-adaptation", "PACE", "imagenet"))
    assert (imagenet.method.params["rank"], imagenet.optimizer.lr, imagenet.optimizer.weight_decay) == (10, 5e-4, 1e-2)
    assert (imagenet.training.mixup, imagenet.task.params["logits"]) == (0.8, "all")
    starred = validate(spec_of_recipe("fgvc-others", "SSF*", "cub"))
    assert starred.backbone.name == "vit_base_patch16_224.augreg_in21k"
