"""Our regularizers on models that a user made with HF `peft`; the examples of docs/peft.md are run as written."""

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model, inject_adapter_in_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import RobertaForSequenceClassification, Trainer, TrainingArguments

from pace_core import methods
from pace_core.network.parts import blocks_of
from pace_core.network.residual import residuals
from pace_core.noise import Pass, SeededSource
from pace_core.peft_models import regularize
from pace_core.peft_trainer import PaceCallback
from pace_core.regularizers._adapter_noise import attach_noise
from pace_core.regularizers.pace import Params as Pace
from pace_core.spec import RunError, SpecError, load_catalogue, validate
from pace_core.spec.spec_file import read_spec_file
from tests.networks import stirred, tiny_roberta, tiny_vit

PAGE = (Path(__file__).parents[2] / "docs/peft.md").read_text("utf-8")
LORA = {"r": 4, "lora_alpha": 6, "target_modules": r"blocks\.\d+\.attn\.qkv"}
PACE = {"name": "pace", "sigma": 0.6, "lambda": 0.5}


def small_vit(*_: object, **__: object) -> VisionTransformer:
    return tiny_vit(depth=3)


def small_roberta(*_: object, **__: object) -> RobertaForSequenceClassification:
    return tiny_roberta(num_hidden_layers=3, max_position_embeddings=16, num_labels=2)


def loader() -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(2)
    return [(torch.randn(6, 3, 16, 16, generator=rng), torch.arange(6) % 5) for _ in range(3)]


def of_user(**config: object) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = get_peft_model(small_vit(), LoraConfig(**{**LORA, "modules_to_save": ["head"], **config}))
    stirred(model)
    return model, torch.optim.AdamW(trained(model), lr=3e-3)


def trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


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


def gradients(model: nn.Module, regularizer: dict[str, Any], **batch: Any) -> list[Tensor]:
    """Of one step, in float64, under the same noise and the same random state."""
    torch.manual_seed(3)
    images, labels = loader()[0]
    model.double().train().zero_grad()
    made = regularize(model, torch.optim.SGD(trained(model), lr=0.1), regularizer, seed=4)
    made.step(batch.get("images", images).double(), batch.get("labels", labels))
    return [parameter.grad.clone() for parameter in trained(model)]


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


HF_NETWORKS = {
    "vit": (transformers.ViTForImageClassification, transformers.ViTConfig, {}),
    "deit": (transformers.DeiTForImageClassification, transformers.DeiTConfig, {}),
    "beit": (
        transformers.BeitForImageClassification,
        transformers.BeitConfig,
        {"use_relative_position_bias": True, "drop_path_rate": 0.0},
    ),
    "dinov2": (transformers.Dinov2ForImageClassification, transformers.Dinov2Config, {"mlp_ratio": 2}),
    "swin": (
        transformers.SwinForImageClassification,
        transformers.SwinConfig,
        {
            "patch_size": 2,
            "embed_dim": 12,
            "depths": (1, 2),
            "num_heads": (2, 3),
            "window_size": 4,
            "drop_path_rate": 0.0,
        },
    ),
}
HF_SIZES = {"image_size": 16, "patch_size": 8, "hidden_size": 24, "intermediate_size": 48, "num_labels": 5}
HF_DEPTH = {"num_hidden_layers": 3, "num_attention_heads": 3}


def hf_network(kind: str, **settings: Any) -> nn.Module:
    build, config, own = HF_NETWORKS[kind]
    torch.manual_seed(1)
    return build(config(**{**HF_SIZES, **({} if kind == "swin" else HF_DEPTH), **own, **settings}))


def of_hf(kind: str, **settings: Any) -> nn.Module:
    config = LoraConfig(r=4, target_modules=["q_proj", "fc1"], modules_to_save=["classifier"])
    return stirred(get_peft_model(hf_network(kind, **settings), config), by=0.2).double()


@pytest.mark.parametrize("kind", HF_NETWORKS)
def test_a_classifier_of_transformers_takes_a_step_that_is_written_out_by_hand(kind: str) -> None:
    """On rows of which each half is a draw: base + z · delta in the layers of LoRA, z · logits in the head."""
    model, (images, labels) = of_hf(kind), loader()[0]
    by_hand, source = copy.deepcopy(model), SeededSource(4)
    made = gradients(model, PACE)
    network = by_hand.get_base_model()
    blocks = blocks_of(network)
    skipped = 0 if kind == "swin" else 1
    assert len(blocks) == 3
    levels = len(blocks) + 1 - skipped

    def multiplied(name: str, sigma: float) -> Any:
        def hook(layer: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            base = torch.zeros_like(output) if name == "classifier" else layer.get_base_layer()(*args)
            eps = source.normal(0, name, (12, output.shape[-1]), output)
            eps = eps.repeat_interleave(len(output) // 12, 0)  # the windows of a Swin
            return base + (1 + sigma * (eps if output.dim() == 2 else eps[:, None])) * (output - base)

        return hook

    for name, layer in list(network.named_modules()):
        if hasattr(layer, "lora_A"):
            level = blocks.index(next(block for block in blocks if name.startswith(f"{block}."))) - skipped
            layer.register_forward_hook(multiplied(name, 0 if level < 0 else 0.6 * (levels - level) / levels))
    network.classifier.register_forward_hook(multiplied("classifier", 0.6 / levels))
    first, second = by_hand.train()(images.double().repeat(2, 1, 1, 1)).logits.chunk(2)
    loss = nn.functional.cross_entropy(first, labels) + 0.5 * (first - second).square().sum(1).mean()
    loss.backward()
    for ours, parameter in zip(made, trained(by_hand), strict=True):
        assert parameter.grad.abs().max() > 0
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", HF_NETWORKS)
def test_what_such_a_classifier_drops_is_the_same_in_both_draws(kind: str) -> None:
    dropped = {"hidden_dropout_prob": 0.4, "attention_probs_dropout_prob": 0.4, "drop_path_rate": 0.5}
    model, (images, labels) = of_hf(kind, **dropped), loader()[0]
    made = regularize(model, torch.optim.SGD(trained(model), lr=0.1), {**PACE, "sigma": 0.0})
    terms = made.step(images.double(), labels)
    assert terms["loss_consistency"] == pytest.approx(0, abs=1e-20)
    plain = nn.functional.cross_entropy(model.eval()(images.double()).logits, labels).item()
    assert terms["loss_classification"] != pytest.approx(plain, rel=1e-3), "nothing was dropped"


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
    with pytest.raises(RunError, match=r"labels: they are .*; the loss is cross-entropy, give one class number"):
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


class Sentences(Dataset[dict[str, Any]]):
    """Of different lengths, padded; the label says whether the first token is even."""

    def __init__(self, size: int = 24) -> None:
        self.tokens = torch.randint(2, 40, (size, 8), generator=torch.Generator().manual_seed(5))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, number: int) -> dict[str, Any]:
        mask = torch.arange(8) < 4 + number % 5
        tokens = self.tokens[number].where(mask, 1)
        return {"input_ids": tokens, "attention_mask": mask.long(), "labels": int(tokens[0]) % 2}


def text_model() -> nn.Module:
    return get_peft_model(small_roberta(), LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], r=4))


def trainer(folder: Path, callback: PaceCallback | None, **arguments: object) -> Trainer:
    usual = {"num_train_epochs": 2, "learning_rate": 3e-3, "logging_steps": 1, "report_to": [], "use_cpu": True}
    return Trainer(
        model=text_model(),
        args=TrainingArguments(str(folder), **{**usual, "disable_tqdm": True, **arguments}),
        train_dataset=Sentences(),
        eval_dataset=Sentences(),
        callbacks=[callback] if callback else [],
    )


def first_loss(made: Trainer) -> float:
    made.train()
    return next(said["loss"] for said in made.state.log_history if "loss" in said)


def test_the_callback_gives_trainer_the_loss_of_pace(tmp_path: Path) -> None:
    plain = first_loss(trainer(tmp_path, None))
    silent = first_loss(trainer(tmp_path, PaceCallback(sigma=1e-6, weight=1.0)))
    assert silent == pytest.approx(plain, abs=2e-2), "but for what the network itself drops"
    once = first_loss(trainer(tmp_path, PaceCallback(sigma=0.9, weight=1.0)))
    twice = first_loss(trainer(tmp_path, PaceCallback(sigma=0.9, weight=2.0)))
    thrice = first_loss(trainer(tmp_path, PaceCallback(sigma=0.9, weight=3.0)))
    assert once < twice < thrice
    assert thrice - twice == pytest.approx(twice - once, rel=1e-3), "linear in lambda"


def test_gradients_accumulated_over_parts_are_those_of_the_update(tmp_path: Path) -> None:
    """The loss that is logged is a mean over the samples of an update, in one part or two."""
    whole = first_loss(trainer(tmp_path, PaceCallback(sigma=1e-6, weight=1.0), per_device_train_batch_size=8))
    parts = first_loss(
        trainer(
            tmp_path,
            PaceCallback(sigma=1e-6, weight=1.0),
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
        )
    )
    assert parts == pytest.approx(whole, abs=2e-2)


def test_after_training_the_model_is_the_user_s_again(tmp_path: Path) -> None:
    made = trainer(tmp_path, PaceCallback(sigma=0.5, weight=0.1))
    before = made.evaluate()["eval_loss"]
    made.train()
    assert made.evaluate()["eval_loss"] < before
    made.model.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(small_roberta(), tmp_path / "adapter").eval()
    batch = {key: torch.as_tensor(value)[None] for key, value in Sentences()[0].items()}
    torch.testing.assert_close(again(**batch).logits, made.model.eval()(**batch).logits)


def example(first_line: str) -> str:
    found = [code for code in re.findall(r"```\w+\n(.*?)```", PAGE, re.DOTALL) if code.startswith(first_line)]
    assert len(found) == 1
    return found[0]


def test_the_example_of_a_spec_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(example("task:"), "utf-8")
    assert validate(read_spec_file(path)).method.name == "peft:HRA"


def test_the_example_of_a_loop_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(timm, "create_model", small_vit)  # there is no hub here
    seen: dict[str, Any] = {"loader": loader()}
    exec(example("import timm"), seen)
    assert seen["losses"].keys() == {"loss", "loss_classification", "loss_consistency"}
    assert (tmp_path / "adapter/adapter_model.safetensors").exists()


def test_the_example_with_a_vit_of_transformers_runs_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers.ViTForImageClassification, "from_pretrained", lambda *_, **__: hf_network("vit"))
    seen: dict[str, Any] = {"loader": loader()}
    exec(example("import torch\nfrom peft"), seen)
    assert seen["pace"].step(*loader()[0]).keys() == {"loss", "loss_classification", "loss_consistency"}


def test_the_example_of_trainer_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transformers.AutoModelForSequenceClassification, "from_pretrained", small_roberta)
    seen: dict[str, Any] = {"train": Sentences(), "validation": Sentences()}
    exec(example("from peft import LoraConfig, get_peft_model\nfrom transformers"), seen)
    assert seen["trainer"].state.global_step == 9
