"""PACE in HF `Trainer` on text, and the examples of docs/peft.md, run as written."""

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from peft import PeftModel
from transformers import Trainer, TrainingArguments

from pace_core.peft_trainer import PaceCallback
from pace_core.spec import validate
from pace_core.spec.spec_file import read_spec_file
from tests.pace_core.peft_users import Sentences, hf_network, loader, small_roberta, small_vit, text_model

PAGE = (Path(__file__).parents[2] / "docs/peft.md").read_text("utf-8")


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
