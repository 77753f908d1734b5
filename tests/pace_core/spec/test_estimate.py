"""What a run is told it will take, before it runs."""

import pytest

from pace_core.spec import estimate, expected_images, load_catalogue, merged, validate

SEARCHING = {"task": {"name": "vtab-mini/digits"}, "method": {"name": "noah"}, "training": {"epochs": 100}}


def epochs(**method: object) -> float:
    return estimate(validate(merged(SEARCHING, {"method": method})), load_catalogue()).epochs


def test_an_ordinary_run_takes_its_epochs() -> None:
    assert epochs(name="lora_add") == 100


def test_a_search_counts_with_all_its_stages() -> None:
    """500 epochs of the supernet, 800 forward passes over a quarter as many images (1/3 of training), 100 epochs."""
    assert epochs() == 500 + round(800 / 4 / 3, 1) + 100
    assert epochs(generations=0, supernet_epochs=20) == 20 + round(50 / 4 / 3, 1) + 100


def test_a_given_architecture_is_only_trained() -> None:
    sizes = [1] * 6
    assert epochs(architecture={"prompt": sizes, "lora": sizes, "adapter": sizes}) == 100


@pytest.mark.parametrize(
    ("task", "phase", "images"),
    [
        ("fgvc/nabirds", "final", {"train": 21_536, "test": 24_633}),
        ("fgvc/nabirds", "search", {"train": 21_536, "val": 2393}),
        ("fgvc-subsets/nabirds/50-percent", "final", {"train": 10_768, "test": 24_633}),
        ("few-shot/food101/16-shot", "final", {"train": 1616, "test": 30_300}),
        ("vtab-1k/cifar", "final", {"train": 1000, "test": 10_000}),
        ("vtab-1k/cifar", "search", {"train": 800, "val": 200}),
        ("vtab-mini/digits", "final", {"train": 1000, "test": 1000}),
    ],
)
def test_a_benchmarks_images_are_counted_though_nobody_has_opened_its_folder(
    task: str, phase: str, images: dict[str, int]
) -> None:
    spec = {"task": {"name": task, "phase": phase}, "method": {"name": "lora_add"}, "regularizer": {"name": "pace"}}
    asked = validate(spec | {"training": {"augmentation": "crop_flip"}})
    assert expected_images(asked) == images
    assert estimate(asked, load_catalogue()) == estimate(asked, load_catalogue(), images)
