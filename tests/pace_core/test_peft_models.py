"""Our regularizers on models that a user made with HF `peft`."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model, inject_adapter_in_model
from torch import Tensor, nn

from pace_core import methods
from pace_core.network.residual import residuals
from pace_core.noise import Pass, SeededSource
from pace_core.peft_models import regularize
from pace_core.regularizers._adapter_noise import attach_noise
from pace_core.regularizers.pace import Params as Pace
from pace_core.spec import RunError, SpecError, load_catalogue
from tests.networks import stirred, tiny_vit
from tests.pace_core.peft_users import LORA, PACE, gradients, loader, of_user, small_roberta, small_vit, trained


def test_a_step_is_that_of_the_same_network_in_our_own_run() -> None:
    theirs, optimizer = of_user()
    ours = small_vit()
    lora = methods.find("lora_add")
    lora.adapt(ours, lora.params(rank=4, alpha=6.0, bias=False, targets="qkv"), torch.Generator())
    with torch.no_grad():
        ours.head.load_state_dict(theirs.base_model.model.head.modules_to_save.default.state_dict())
        for name, layer in residuals(ours).items():
            peer = theirs.base_model.model.get_submodule(name)
            layer.low_rank.A[0].copy_(peer.lora_A["default"].weight)
            layer.low_rank.B[0].copy_(peer.lora_B["default"].weight)
    images, labels = loader()[0]
    terms = regularize(theirs, optimizer, PACE, seed=4).step(images, labels)
    current = Pass(SeededSource(4))
    attach_noise(ours, current, Pace(sigma=0.6, weight=0.5))
    with current.noised(0, 6, 2, slice(0, 6)):
        first, second = ours(images).chunk(2)
    assert terms["loss_classification"] == pytest.approx(nn.functional.cross_entropy(first, labels).item(), rel=1e-5)
    assert terms["loss_consistency"] == pytest.approx((first - second).square().sum(1).mean().item(), rel=1e-4)
    assert terms["loss"] == pytest.approx(terms["loss_classification"] + 0.5 * terms["loss_consistency"], rel=1e-5)


@pytest.mark.parametrize("name", list(load_catalogue().regularizers))
def test_any_regularizer_lowers_its_loss_on_it(name: str) -> None:
    model, optimizer = of_user()
    light = {"sigma": 0.01, "lambda": 0.01, "lambda_gradient": 0.01}
    known = load_catalogue().regularizers[name].params["properties"]
    chosen = {"name": name} | {key: value for key, value in light.items() if key in known}
    made = regularize(model, optimizer, chosen, train_samples=6, num_classes=5)
    images, labels = loader()[0]
    losses: list[float] = []
    for _ in range(12):
        losses.append(made.step(images, labels, torch.arange(6))["loss_classification"])
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]


def test_what_peft_saves_loads_and_merges_is_as_without_us(tmp_path: Path) -> None:
    model, optimizer = of_user()
    names = list(model.state_dict())
    made = regularize(model, optimizer, PACE)
    made.step(*loader()[0])
    optimizer.step()
    assert list(model.state_dict()) == names
    model.eval()
    images = loader()[0][0]
    said = model(images)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(small_vit(), tmp_path).eval()
    torch.testing.assert_close(again(images), said)
    torch.testing.assert_close(model.merge_and_unload()(images), said)


def test_outside_a_step_the_model_is_not_noised() -> None:
    model, optimizer = of_user()
    images, labels = loader()[0]
    before = model(images)
    made = regularize(model, optimizer, PACE)
    torch.testing.assert_close(model(images), before, rtol=0, atol=1e-6)
    assert made.step(images, labels)["loss_consistency"] > 0
    torch.testing.assert_close(model(images), before, rtol=0, atol=1e-6)


def test_two_steps_have_different_noise_and_a_seed_repeats_it() -> None:
    images, labels = loader()[0]

    def losses(seed: int) -> list[float]:
        made = regularize(*of_user(), PACE, seed=seed)
        return [made.step(images, labels)["loss_consistency"] for _ in range(2)]

    assert losses(1) == losses(1) != losses(2)
    assert len(set(losses(1))) == 2


def test_layers_injected_without_peft_s_model_do_too() -> None:
    network = small_vit()
    inject_adapter_in_model(LoraConfig(**LORA), network)
    network.head.requires_grad_(True)
    made = regularize(network, torch.optim.SGD(trained(network), lr=0.1), PACE)
    assert made.step(*loader()[0])["loss_consistency"] > 0


def test_a_model_that_cannot_take_noise_is_refused_with_the_cure() -> None:
    model = get_peft_model(small_vit(), LoraConfig(**LORA))
    optimizer = torch.optim.SGD(trained(model), lr=0.1)
    with pytest.raises(RunError, match=r"its classifier is not trained; .*modules_to_save=\['head'\]"):
        regularize(model, optimizer, PACE)
    with pytest.raises(RunError, match="peft has put no layers into it"):
        regularize(small_vit(), optimizer, PACE)
    prompts = get_peft_model(small_roberta(), PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2))
    with pytest.raises(RunError, match="not one of prompts"):
        regularize(prompts, optimizer, PACE)


def test_checkpointed_gradients_are_those_without() -> None:
    """With what the network drops itself, in the adapters too."""
    network = {"drop_path_rate": 0.4, "proj_drop_rate": 0.3, "attn_drop_rate": 0.3}

    def model(checkpointed: bool) -> nn.Module:
        made = get_peft_model(
            tiny_vit(depth=3, **network), LoraConfig(**LORA, lora_dropout=0.3, modules_to_save=["head"])
        )
        made.get_base_model().set_grad_checkpointing(checkpointed)
        return stirred(made)

    for ours, expected in zip(gradients(model(True), PACE), gradients(model(False), PACE), strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", list(load_catalogue().regularizers))
def test_called_again_it_begins_anew_and_outside_the_steps_the_model_is_the_user_s(name: str) -> None:
    """A cell that is run twice; the plain forward has its stochastic depth and dropouts, and the model is pickled."""

    def model() -> nn.Module:
        network = tiny_vit(depth=3, drop_path_rate=0.5, proj_drop_rate=0.3)
        return stirred(get_peft_model(network, LoraConfig(**LORA, lora_dropout=0.3, modules_to_save=["head"]))).double()

    known = load_catalogue().regularizers[name].params["properties"]
    chosen = {"name": name} | ({"sigma": 0.6} if "sigma" in known else {})
    sizes = {"train_samples": 6, "num_classes": 5}
    used, fresh = model(), model()
    images, labels = loader()[0]
    optimizer = torch.optim.SGD(trained(used), lr=0.0)
    for _ in range(2):
        torch.manual_seed(3)
        made = regularize(used, optimizer, chosen, seed=4, **sizes)
        terms = made.step(images.double(), labels, torch.arange(6))
        optimizer.step()
    torch.manual_seed(3)
    again = regularize(fresh, torch.optim.SGD(trained(fresh), lr=0.0), chosen, seed=4, **sizes)
    assert terms == again.step(images.double(), labels, torch.arange(6))

    outputs = list[Tensor]()
    for plain in (used, model(), copy.deepcopy(used), pickle.loads(pickle.dumps(used))):
        torch.manual_seed(5)
        outputs.append(plain.train()(images.double()))
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    for module, peer in zip(used.modules(), model().modules(), strict=True):
        assert type(module) is type(peer)
        assert vars(module).keys() == vars(peer).keys()


def test_a_dropout_that_a_block_calls_twice_drops_anew() -> None:
    """As DINOv2 does with its drop path; the draws of a sample agree in both calls."""
    current = Pass(SeededSource(0))
    with current.noised(0, 64, 2, slice(0, 64)):
        first, second = (current.drop_path_factor("path", 0.5, torch.zeros(()), 2) for _ in range(2))
    current.again()
    again = [current.drop_path_factor("path", 0.5, torch.zeros(()), 2) for _ in range(2)]
    assert not torch.equal(first, second)
    assert torch.equal(first[:64], first[64:])
    assert all(torch.equal(one, other) for one, other in zip(again, (first, second), strict=True))


def test_adapters_that_add_nothing_or_are_others_are_refused_at_the_step() -> None:
    model, optimizer = of_user()
    images, labels = loader()[0]
    made = regularize(model, optimizer, PACE)
    model.merge_adapter()
    with pytest.raises(RunError, match=r"its adapters are merged.*call unmerge_adapter\(\) before"):
        made.step(images, labels)
    model.unmerge_adapter()
    with model.disable_adapter(), pytest.raises(RunError, match="its adapters are disabled"):
        made.step(images, labels)
    assert made.step(images, labels)["loss_consistency"] > 0
    model.add_adapter("more", LoraConfig(target_modules=r"blocks\.\d+\.mlp\.fc1"))
    with pytest.raises(RunError, match=r"its adapters are not those that PACE was attached to; call `regularize`"):
        made.step(images, labels)
    model.merge_and_unload()
    with pytest.raises(RunError, match=r"its adapters are not those"):
        made.step(images, labels)


def test_switched_adapters_are_noised_as_those_that_are_active() -> None:
    model, optimizer = of_user()
    images, labels = loader()[0]
    model.add_adapter("second", LoraConfig(**{**LORA, "r": 2, "modules_to_save": ["head"]}))
    made = regularize(model, optimizer, PACE)
    model.set_adapter("second")
    stirred(model)
    assert made.step(images, labels)["loss_consistency"] > 0


@pytest.mark.parametrize(
    ("wrapped", "message"),
    [
        (nn.DataParallel, "it is wrapped in DataParallel.*; give the model inside"),
        (torch.compile, "it is compiled.*; leave torch.compile out"),
        (lambda model: model.compile() or model, "it is compiled"),
    ],
)
def test_a_model_that_hides_its_layers_is_refused(wrapped: Any, message: str) -> None:
    model, optimizer = of_user()
    with pytest.raises(RunError, match=message):
        regularize(wrapped(model), optimizer, PACE)


@pytest.mark.parametrize("labels", [torch.rand(6, 5), torch.rand(6), torch.tensor([0, 1, 2, -100, 3, 4])])
def test_labels_that_are_not_class_numbers_are_refused(labels: Tensor) -> None:
    with pytest.raises(RunError, match=r"labels: they are .*; cross-entropy needs one class number from 0"):
        regularize(*of_user(), PACE).step(loader()[0][0], labels)


def test_pace_fast_asks_for_the_places_of_the_images() -> None:
    made = regularize(*of_user(), {"name": "pace_fast"}, train_samples=6, num_classes=5)
    with pytest.raises(RunError, match="index: pace_fast compares with the logits of the epoch before"):
        made.step(*loader()[0])


def test_a_refused_model_is_left_as_it_was() -> None:
    model = get_peft_model(small_vit(), LoraConfig(**LORA))
    with pytest.raises(RunError):
        regularize(model, torch.optim.SGD(trained(model), lr=0.1), PACE)
    pickle.dumps(model)


def test_a_wrong_regularizer_is_refused_with_the_cure() -> None:
    model, optimizer = of_user()
    with pytest.raises(SpecError, match="did you mean 'pace'"):
        regularize(model, optimizer, {"name": "pase"})
    with pytest.raises(SpecError, match=r"did you mean 'sigma'"):
        regularize(model, optimizer, {"name": "pace", "sigm": 1})
    with pytest.raises(SpecError, match="give train_samples and num_classes"):
        regularize(model, optimizer, {"name": "pace_fast"})
