"""Our regularizers on models that a user made with HF `peft`; the examples of docs/peft.md are run as written."""

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
    lora.adapt(ours, lora.Params(rank=4, alpha=6.0, bias=False, targets="qkv"), torch.Generator())
    with torch.no_grad():
        ours.head.load_state_dict(theirs.base_model.model.head.modules_to_save.default.state_dict())
        for name, layer in residuals(ours).items():
            peer = theirs.base_model.model.get_submodule(name)
            layer.low_rank.B[0].copy_(peer.lora_A["default"].weight)
            layer.low_rank.A[0].copy_(peer.lora_B["default"].weight)
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
    assert "forward" not in vars(made.model)
    assert made.evaluate()["eval_loss"] < before
    made.model.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(small_roberta(), tmp_path / "adapter").eval()
    batch = {key: torch.as_tensor(value)[None] for key, value in Sentences()[0].items()}
    torch.testing.assert_close(again(**batch).logits, made.model.eval()(**batch).logits)


def test_smoothed_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="label_smoothing_factor"):
        trainer(tmp_path, PaceCallback(sigma=0.5), label_smoothing_factor=0.1).train()


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


def test_the_example_of_trainer_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transformers.AutoModelForSequenceClassification, "from_pretrained", small_roberta)
    seen: dict[str, Any] = {"train": Sentences(), "validation": Sentences()}
    exec(example("from peft import LoraConfig, get_peft_model\nfrom transformers"), seen)
    assert seen["trainer"].state.global_step == 9
