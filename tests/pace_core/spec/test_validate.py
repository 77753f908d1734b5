"""A spec is checked whole before anything runs: every fault at once, each with the field and the cure."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pace_core.spec import Fault, RunSpec, SpecError, load_catalogue, merged, validate

GOOD: dict[str, Any] = {
    "task": {"name": "vtab-mini/digits"},
    "method": {"name": "lora_add", "rank": 4},
    "regularizer": {"name": "pace", "sigma": 1, "lambda": 0.5},
    "training": {"epochs": 3, "warmup_epochs": 0.3, "schedule": "step"},
}


def faults(raw: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SpecError) as refused:
        validate(raw)
    return {fault.pointer: fault.message for fault in refused.value.faults}


def test_a_resolved_spec_has_every_default_filled_in() -> None:
    spec = validate(GOOD)
    assert spec.task.source == "vtab_mini"
    assert spec.task.num_classes == 10
    assert spec.training.batch_size == 16
    assert spec.method.params["targets"] == "all"
    assert spec.regularizer.params["lambda"] == 0.5


def test_resolving_a_resolved_spec_changes_nothing() -> None:
    spec = validate(GOOD)
    assert validate(spec.json_dict()) == spec


def test_warm_up_is_a_tenth_of_the_run_and_the_rate_moves_every_step_unless_asked_otherwise() -> None:
    training = validate(GOOD | {"training": {"epochs": 3}}).training
    assert (training.schedule, training.warmup_epochs) == ("step", pytest.approx(0.3))
    assert validate(GOOD | {"training": {"epochs": 3, "warmup_epochs": None}}).training == training


@pytest.mark.parametrize("method", ["linear", "vpt_deep", "vpt_shallow"])
def test_frozen_features_are_not_cut_by_drop_path_unless_asked(method: str) -> None:
    frozen = GOOD | {"method": {"name": method}, "regularizer": {"name": "none"}}
    assert validate(frozen).training.drop_path == 0
    assert validate(GOOD).training.drop_path == 0.1
    assert validate(merged(frozen, {"training": {"drop_path": 0.2}})).training.drop_path == 0.2


def test_a_whole_number_for_a_fraction_makes_the_same_spec() -> None:
    as_float = merged(GOOD, {"regularizer": {"sigma": 1.0}})
    assert validate(GOOD).json_dict() == validate(as_float).json_dict()
    assert isinstance(validate(GOOD).regularizer.params["sigma"], float)


WRONG = {
    "a section that does not exist": ({"regulariser": {"name": "pace"}}, "/regulariser", "did you mean 'regularizer'?"),
    "an unknown method": ({"method": {"name": "lora_ad"}}, "/method/name", "did you mean 'lora_add'?"),
    "an unknown task": ({"task": {"name": "vtab-mini/digts"}}, "/task/name", "did you mean 'digits'?"),
    "own data without a source": ({"task": {"name": "flowers"}}, "/task/name", "task.source"),
    "a misspelt parameter": ({"regularizer": {"sigmma": 1}}, "/regularizer/sigmma", "did you mean 'sigma'?"),
    "text for a number": ({"regularizer": {"sigma": "high"}}, "/regularizer/sigma", "must be a number, not 'high'"),
    "a negative regularization weight": ({"regularizer": {"lambda": -1}}, "/regularizer/lambda", "at least 0"),
    "a rank wider than a layer": ({"method": {"rank": 512}}, "/method/rank", "use at most 128"),
    "a class count that contradicts the task": ({"task": {"num_classes": 7}}, "/task/num_classes", "has 10, not 7"),
    "a regularizer that needs what the method lacks": ({"method": {"name": "linear"}}, "/regularizer/name", "'delta'"),
    "warm-up that never ends": (
        {"training": {"warmup_epochs": 10}},
        "/training/warmup_epochs",
        "leave the field out for a tenth of the run, 0.3",
    ),
    "a late schedule that never leaves the warm-up": (
        {"training": {"schedule": "epoch", "warmup_epochs": 2}},
        "/training/schedule",
        "use step, or at least 4 epochs",
    ),
    "the other optimizer's momentum": (
        {"optimizer": {"momentum": 0.5}},
        "/optimizer/momentum",
        "adamw has no momentum",
    ),
    "the other optimizer's beta": (
        {"optimizer": {"name": "sgd", "beta1": 0.5}},
        "/optimizer/beta1",
        "sgd has no beta1",
    ),
    "momentum that never forgets": (
        {"optimizer": {"name": "sgd", "momentum": 1}},
        "/optimizer/momentum",
        "less than 1",
    ),
    "gradients clipped to nothing": ({"optimizer": {"clip_norm": 0}}, "/optimizer/clip_norm", "greater than 0"),
    "an average that never moves": ({"training": {"ema_decay": 1}}, "/training/ema_decay", "less than 1"),
    "labels smoothed to nothing": ({"training": {"label_smoothing": 1}}, "/training/label_smoothing", "less than 1"),
    "an unknown RandAugment": ({"training": {"rand_augment": "rand-q9"}}, "/training/rand_augment", "rand-m9-mstd0.5"),
    "mixtures for what remembers samples": (
        {"regularizer": {"name": "pace_fast"}, "training": {"mixup": 0.8}},
        "/training/mixup",
        "pace_fast needs each sample as it is",
    ),
    "an average of a supernet": (
        {"method": {"name": "glora"}, "training": {"ema_decay": 0.9}},
        "/training/ema_decay",
        "glora searches",
    ),
    "a head's rate that would rise": ({"optimizer": {"head_lr": 1e-6}}, "/training/min_lr", "above optimizer.head_lr"),
    "a micro-batch above the batch": ({"training": {"micro_batch": 65}}, "/training/micro_batch", "at most that"),
    "a backbone that is no vision transformer": ({"backbone": {"name": "sam2_tiny"}}, "/backbone/name", "ViT or Swin"),
    "a network without attention": (
        {"backbone": {"name": "convnext_atto"}},
        "/backbone/name",
        "no blocks of attention",
    ),
    "BEiT": ({"backbone": {"name": "beit_base_patch16_224"}}, "/backbone/name", "outside of its linear layers"),
    "EVA": ({"backbone": {"name": "eva02_tiny_patch14_224"}}, "/backbone/name", "turns its queries and keys"),
    "DINOv3": (
        {"backbone": {"name": "vit_small_patch16_dinov3"}},
        "/backbone/name",
        "choose a ViT, DeiT, DINOv2 or CLIP",
    ),
    "bundled weights of another network": (
        {"backbone": {"name": "vit_base_patch16_224", "weights": "bundled"}},
        "/backbone/weights",
        "use hub",
    ),
    "a name of timm's that has lost its weights": (
        {"backbone": {"name": "vit_base_patch16_224_in21k"}, "regularizer": {"name": "none"}},
        "/backbone/name",
        "vit_base_patch16_224.orig_in21k",
    ),
    "weights in a format that could run code": ({"backbone": {"weights": "net.pkl"}}, "/backbone/weights", ".npz"),
    "a rate that would rise": ({"optimizer": {"lr": 1e-6}}, "/training/min_lr", "above optimizer.lr"),
    "a rate of not-a-number": ({"optimizer": {"lr": float("nan")}}, "/optimizer/lr", "finite number"),
    "a missing method": ({"method": None}, "/method", "needs a method"),
    "a negative seed": ({"seed": -1}, "/seed", "greater than or equal to 0"),
}


@pytest.mark.parametrize(("change", "pointer", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_spec_is_refused_with_field_and_cure(change: dict[str, Any], pointer: str, says: str) -> None:
    found = faults(merged(GOOD, change))
    assert pointer in found, found
    assert says in found[pointer]


def test_a_method_that_cannot_adapt_the_backbones_family_is_refused_with_those_it_fits() -> None:
    known = load_catalogue()
    only_swin = known.methods["lora_add"].model_copy(update={"fits": ["swin"]})
    catalogue = known.model_copy(update={"methods": {**known.methods, "lora_add": only_swin}})
    with pytest.raises(SpecError) as refused:
        validate(GOOD, catalogue)
    (fault,) = refused.value.faults
    assert fault.pointer == "/method/name"
    assert fault.message == "lora_add cannot adapt pace_vit_mini (vit); it fits swin"
    validate(merged(GOOD, {"backbone": {"name": "swin_tiny_patch4_window7_224.ms_in22k"}}), catalogue)


def test_all_faults_come_at_once() -> None:
    raw = merged(GOOD, {"method": {"rank": 0}, "regularizer": {"sigma": -1}, "training": {"epochs": -3}, "sed": 1})
    assert {"/method/rank", "/regularizer/sigma", "/training/epochs", "/sed"} <= faults(raw).keys()


def answered(raw: dict[str, Any]) -> list[Fault]:
    """The faults found; none where the spec is taken."""
    try:
        validate(raw)
    except SpecError as refused:
        return refused.faults
    return []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # how fast the machine is proves nothing
@given(
    section=st.sampled_from(sorted(RunSpec.model_fields)),
    key=st.sampled_from(["name", "rank", "epochs", "x"]),
    value=JSON,
)
def test_whatever_json_is_given_the_answer_is_a_spec_or_faults(section: str, key: str, value: Any) -> None:
    for raw in (GOOD | {section: value}, GOOD | {section: {key: value}}):
        for fault in answered(raw):
            assert fault.message
            assert fault.pointer.startswith("/")


def test_every_name_in_the_catalogue_is_known_to_the_validator() -> None:
    catalogue = load_catalogue()
    for name in catalogue.methods:
        assert validate(merged(GOOD, {"method": {"name": name}, "regularizer": {"name": "none"}})).method.name == name
