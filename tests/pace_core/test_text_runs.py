"""Runs on texts: the same life as on images, with tokens in and classes or scores out."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner

from pace_core.adapters import Predictor, adapt_model, read_adapter
from pace_core.backbones import text
from pace_core.commands import app
from pace_core.network.residual import residual_layers
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import attach_noise
from pace_core.regularizers.pace import Params as Pace
from pace_core.run import run
from pace_core.spec import Backbone, RunError, RunResult, RunSpec, validate
from tests.networks import stirred
from tests.pace_core.training.told import Told
from tests.texts import reviews, save_encoder, save_glue

MakeSpec = Callable[..., RunSpec]
PAIR = ("The film is lovely.", "A dull story, not very good")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("texts")
    save_glue(home / "glue")
    for kind in ("bert", "roberta"):
        save_encoder(home / kind, kind)
    save_encoder(home / "pads_left", "bert", pads_left=True)
    return home


@pytest.fixture(scope="module")
def make(folders: Path) -> MakeSpec:
    def made(task: str = "sst2", network: str = "bert", **sections: Any) -> RunSpec:
        raw: dict[str, Any] = {
            "task": {"name": f"glue/{task}", "path": str(folders / "glue")},
            "backbone": {"name": network, "weights": str(folders / network)},
            "method": {"name": "lora_add", "rank": 4},
            "optimizer": {"lr": 0.02},
            "training": {"epochs": 12, "batch_size": 8, "eval_every": 1, "precision": "float64"},
        }
        for name, value in sections.items():
            raw[name] = {**raw.get(name, {}), **value} if isinstance(value, dict) else value
        return validate(raw)

    return made


def trained(spec: RunSpec, folder: Path) -> tuple[RunResult, Told]:
    told = Told()
    return run(spec, told, str(folder)), told


def losses(told: Told) -> list[float]:
    return [event["values"]["train/loss"] for event in told.of("metrics")]


@pytest.mark.parametrize("network", ["bert", "roberta"])
def test_lora_with_pace_learns_to_tell_praise_from_blame(make: MakeSpec, network: str, tmp_path: Path) -> None:
    pace = {"name": "pace", "sigma": 0.3, "lambda": 0.1}
    result, told = trained(make(network=network, regularizer=pace), tmp_path)
    assert result.value("best_val") > 0.9
    assert losses(told)[-1] < 0.8 * losses(told)[0]
    assert result.adapter_parameters == 2 * 2 * (4 * (24 + 24) + 24), "q and v of two blocks"


def test_a_regression_learns_the_score(make: MakeSpec, tmp_path: Path) -> None:
    result, told = trained(make("stsb", regularizer={"name": "pace", "sigma": 0.1}), tmp_path)
    assert result.value("best_val", "pearson") > 0.9
    assert {m.metric for m in result.metrics} == {"pearson", "spearman", "mean_squared_error"}
    assert {"val/pearson", "train/loss_consistency"} <= told.of("metrics")[0]["values"].keys()
    header, first, *_ = (tmp_path / "predictions.csv").read_text().splitlines()
    assert header == "text,label,predicted"
    assert first.startswith("The a was bad. | The story was very very very fine.,1.0,")


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("sample", [PAIR[:1], PAIR], ids=["sentence", "pair"])
def test_the_network_sees_what_transformers_gives_it(folders: Path, kind: str, sample: tuple[str, ...]) -> None:
    loaded = text.load(Backbone(name=kind, weights=str(folders / kind)))
    other = ("bad plot", "not a fine story")[: len(sample)]
    tokens, cut = loaded.preprocessing.encode([sample, other])
    theirs = AutoTokenizer.from_pretrained(folders / kind)
    columns = [list(column) for column in zip(sample, other, strict=True)]
    inputs = theirs(*columns, padding=True, return_token_type_ids=True, return_tensors="pt")
    model = AutoModelForSequenceClassification.from_pretrained(folders / kind).eval()
    if kind == "roberta":
        inputs.pop("token_type_ids", None)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model.eval()(tokens), model(**inputs).logits)
    assert cut == 0


def test_lora_is_that_of_peft(folders: Path, make: MakeSpec) -> None:
    spec = make(method={"rank": 3, "alpha": 6, "bias": False})
    loaded = text.load(spec.backbone)
    tokens, _ = loaded.preprocessing.encode([PAIR, PAIR[::-1]])
    theirs = AutoModelForSequenceClassification.from_pretrained(folders / "bert").eval()
    adapted = get_peft_model(theirs, LoraConfig(r=3, lora_alpha=6, target_modules=["query", "value"]))
    adapt_model(loaded.model, spec, torch.Generator().manual_seed(0))
    ours = stirred(loaded.model).eval()
    weights = dict(adapted.named_parameters())
    with torch.no_grad():
        for name, layer in residual_layers(ours).items():
            for side in "AB":
                weights[f"base_model.model.{name}.lora_{side}.default.weight"].copy_(getattr(layer.low_rank, side)[0])
        for side in ("weight", "bias"):
            dict(ours.named_parameters())[f"classifier.{side}"].copy_(weights[f"base_model.model.classifier.{side}"])
        ids, mask, types = tokens.long().unbind(1)
        expected = adapted(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
        torch.testing.assert_close(ours(tokens), expected)


def test_the_side_on_which_a_tokenizer_pads_changes_no_loss(make: MakeSpec, tmp_path: Path) -> None:
    short = {"training": {"epochs": 2}, "regularizer": {"name": "pace"}}
    right, left = (trained(make(network=network, **short), tmp_path / network)[1] for network in ("bert", "pads_left"))
    assert losses(right) == pytest.approx(losses(left), rel=1e-12)


def test_padding_changes_no_logit(folders: Path) -> None:
    loaded = text.load(Backbone(name="bert", weights=str(folders / "bert")))
    tokens, _ = loaded.preprocessing.encode([PAIR[:1]])
    model = loaded.model.double().eval()
    with torch.no_grad():
        alone, padded = model(tokens), model(loaded.preprocessing.padded(tokens, 30))
    torch.testing.assert_close(alone, padded, rtol=0, atol=1e-10)


def test_micro_batches_leave_the_loss_as_it_is(make: MakeSpec, tmp_path: Path) -> None:
    given = {"regularizer": {"name": "pace", "sigma": 1.0}}
    whole, parts = (
        trained(make("stsb", training={"epochs": 1, "micro_batch": size}, **given), tmp_path)[1] for size in (None, 3)
    )
    assert losses(whole) == pytest.approx(losses(parts), rel=1e-9)


@pytest.mark.parametrize("regularizer", ["none", "pace"])
def test_blocks_that_are_computed_again_give_the_same_run(make: MakeSpec, tmp_path: Path, regularizer: str) -> None:
    """With the network's own dropout, which torch draws where there is no noise."""
    kept, again = (
        trained(make(training={"epochs": 2, "recompute": on}, regularizer={"name": regularizer}), tmp_path / str(on))[1]
        for on in (False, True)
    )
    assert losses(kept) == pytest.approx(losses(again), rel=1e-12)


def test_the_dropouts_of_network_and_adapter_are_one_for_both_draws(make: MakeSpec, folders: Path) -> None:
    spec = make(network="roberta", method={"dropout": 0.5})
    loaded = text.load(spec.backbone)
    adapt_model(loaded.model, spec, torch.Generator().manual_seed(0))
    model = stirred(loaded.model).double().train()
    current = Pass(SeededSource(1))
    attach_noise(model, current, Pace(sigma=0.0))
    tokens, _ = loaded.preprocessing.encode([(words,) for words, _ in reviews(6)])
    with torch.no_grad():
        with current.noised(0, 6, 2, slice(0, 6)):
            first, second = model(tokens).chunk(2)
        with current.noised(1, 6, 2, slice(0, 6)):
            later, _ = model(tokens).chunk(2)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-12)
    assert not torch.allclose(first, later), "nothing was dropped"


def test_longer_texts_are_cut_and_counted(make: MakeSpec, tmp_path: Path) -> None:
    _, told = trained(make(backbone={"max_length": 6}, training={"epochs": 1}), tmp_path)
    assert "32 of 32 texts are longer than 6 tokens and are cut" in {log["message"] for log in told.of("log")}
    with pytest.raises(RunError, match=r"backbone.max_length: 41 is more than the 40 tokens that bert reads"):
        trained(make(backbone={"max_length": 41}), tmp_path)


def test_a_run_begins_with_the_adapter_of_another_task(make: MakeSpec, tmp_path: Path) -> None:
    short = {"training": {"epochs": 2}}
    first, _ = trained(make("mnli", **short), tmp_path / "mnli")
    assert first.adapter is not None
    _, told = trained(make("rte", init_from=first.adapter.uri, **short), tmp_path / "rte")
    assert any("1 of 2 classes keep their row of the head, by name" in log["message"] for log in told.of("log"))


def test_an_adapter_answers_for_texts_with_all_it_needs_inside(make: MakeSpec, tmp_path: Path) -> None:
    trained(make(), tmp_path)
    file = read_adapter(str(tmp_path / "adapter.safetensors"))
    assert file.class_names == ("negative", "positive")
    predictor = Predictor(file)
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    shares = predictor.probabilities(predictor.tokens([(row["text"],) for row in rows]))
    assert [file.class_names[best] for best in shares.argmax(1).tolist()] == [row["predicted"] for row in rows]
    first, *others = (row["text"] for row in rows)
    (tmp_path / "lines.txt").write_text("\n".join(others) + "\n")
    said = CliRunner().invoke(app, ["predict", str(tmp_path), first, "--lines", str(tmp_path / "lines.txt")])
    assert said.exit_code == 0, said.output
    answers = [line.split("\t")[:2] for line in said.stdout.splitlines()]
    assert answers == [[row["text"], row["predicted"]] for row in rows]
    blank = CliRunner().invoke(app, ["predict", str(tmp_path), " "])
    assert blank.exit_code == 1
    assert "1 of 1 texts are blank" in blank.output


def test_what_cannot_be_loaded_is_said_with_the_cure(make: MakeSpec, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no folder") as missing:
        trained(make(backbone={"weights": str(tmp_path / "nothing")}), tmp_path)
    assert missing.value.reason == "weights_missing"
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="could not be loaded") as broken:
        trained(make(backbone={"weights": str(tmp_path / "empty")}), tmp_path)
    assert broken.value.reason == "weights_missing"
