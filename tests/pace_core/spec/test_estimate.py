"""What a run is told it will take, before it runs."""

from pace_core.spec import estimate, load_catalogue, merged, validate

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
