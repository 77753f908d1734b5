"""Causal language models: what is predicted, what the losses are means of, and how answers are written."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from pace_core.adapters import adapt_model
from pace_core.backbones import causal
from pace_core.backbones.causal import LoadedCausal
from pace_core.commands import app
from pace_core.data.gsm8k import INSTRUCTION, SOURCE, Params
from pace_core.network.recomputed import recompute_blocks
from pace_core.network.residual import residual_layers, residuals
from pace_core.noise import Pass, SeededSource
from pace_core.regularizers import Batch, attach_noise, consistency, label_loss
from pace_core.regularizers._adapter_noise import sigma_by_layer
from pace_core.regularizers.pace import Params as Pace
from pace_core.run import run
from pace_core.spec import Backbone, RunError, RunResult, RunSpec, SpecError, load_recipes, validate
from pace_core.spec.recipes import origins, spec_of_recipe
from pace_core.stage import adapted as adapt_for_run
from pace_core.training.compute import Compute
from pace_core.training.generate import replies_of
from pace_core.training.precision import choose_precision
from tests.networks import stirred
from tests.pace_core.training.told import Told
from tests.texts import save_decoder, save_problems

MakeSpec = Callable[..., RunSpec]
DIALOGUES = [("what is 1 plus 2", "1 + 2 = 3 #### 3"), ("what is 1", "#### 1"), ("add 3", "3 + 3 = 6")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("language")
    save_problems(home / "gsm8k")
    save_decoder(home / "llama")
    save_decoder(home / "phi3", "phi3")
    save_decoder(home / "pads_left", pads_left=True)
    return home


@pytest.fixture(scope="module")
def make(folders: Path) -> MakeSpec:
    def made(network: str = "llama", **sections: Any) -> RunSpec:
        raw: dict[str, Any] = {
            "task": {"name": "gsm8k/main", "path": str(folders / "gsm8k"), "new_tokens": 12},
            "backbone": {"name": network, "weights": str(folders / network)},
            "method": {"name": "lora_add", "rank": 8, "targets": "all"},
            "optimizer": {"lr": 0.02},
            "training": {"epochs": 2, "batch_size": 8},
        }
        for name, value in sections.items():
            raw[name] = {**raw.get(name, {}), **value} if isinstance(value, dict) else value
        return validate(raw)

    return made


def loaded(folders: Path, network: str = "llama") -> LoadedCausal:
    return causal.load(Backbone(name=network, weights=str(folders / network)))


def trained(spec: RunSpec, folder: Path) -> tuple[RunResult, list[float]]:
    told = Told()
    result = run(spec, told, str(folder))
    values = [event["values"] for event in told.of("metrics")]
    return result, [one["train/loss"] for one in values if "train/loss" in one]


def adapted(folders: Path, spec: RunSpec, network: str = "llama") -> tuple[nn.Module, Batch]:
    """In float64, its trained parameters away from their start."""
    given = loaded(folders, network)
    adapt_model(given.model, spec, torch.Generator().manual_seed(0))
    tokens, labels, _ = given.preprocessing.encode(DIALOGUES)
    return stirred(given.model).double(), Batch(tokens, labels, torch.arange(len(DIALOGUES)))


def test_only_the_answer_and_what_ends_it_are_to_be_predicted(folders: Path) -> None:
    chat = loaded(folders).preprocessing
    ids, start = chat.dialogue("what is 1", "#### 1")
    words = ["<u>", "what", "is", "1", "<e>", "<a>", "####", "1", "<e>"]
    assert [chat.decode([one]) for one in ids if one not in (1, 2, 3)] == [w for w in words if not w.startswith("<")]
    assert (len(ids), start) == (9, 6)
    tokens, labels, cut = chat.encode([("what is 1", "#### 1"), ("1", "1")])
    assert labels.tolist()[0] == [-100] * 6 + ids[6:]
    assert labels.tolist()[1] == [-100] * 4 + [6, 3] + [-100] * 3, "padding is not predicted"
    assert tokens[1, 1].tolist() == [1] * 6 + [0] * 3
    assert (cut, chat.stops) == (0, (3,))


def test_logits_and_loss_are_those_of_transformers(folders: Path) -> None:
    given = loaded(folders)
    tokens, labels, _ = given.preprocessing.encode(DIALOGUES)
    theirs = AutoModelForCausalLM.from_pretrained(folders / "llama").eval()
    with torch.no_grad():
        outputs = theirs(input_ids=tokens[:, 0].long(), attention_mask=tokens[:, 1].long(), labels=labels)
        ours = given.model.eval()(tokens)
    torch.testing.assert_close(ours, outputs.logits[:, :-1][labels[:, 1:] != -100])
    batch = Batch(tokens, labels, torch.arange(3))
    assert batch.counted == int((labels != -100).sum())
    torch.testing.assert_close(label_loss(ours, labels, batch.counted), outputs.loss)


def test_consistency_is_summed_over_the_vocabulary_and_averaged_over_the_answers_tokens() -> None:
    first, second = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), torch.zeros(3, 2)
    labels = torch.tensor([[-100, 1, 0], [-100, -100, 1]])
    batch = Batch(torch.zeros(2, 3, 3), labels, torch.arange(2))
    assert consistency(first, second, batch.counted) == pytest.approx((1 + 4) / 3)


@pytest.mark.parametrize("network", ["llama", "phi3"])
def test_two_draws_are_the_network_run_twice_with_its_changes_multiplied(
    make: MakeSpec, folders: Path, network: str
) -> None:
    model, batch = adapted(folders, make(network), network)
    plain, _ = adapted(folders, make(network), network)
    sigmas, current, size = sigma_by_layer(model, 1.2), Pass(SeededSource(7)), len(DIALOGUES)
    assert "lm_head" not in sigmas, "a pretrained head is not noised"
    attach_noise(model, current, Pace(sigma=1.2))
    with torch.no_grad(), current.noised(3, size, 2, slice(0, size)):
        ours = model(batch.images)
    source = SeededSource(7)

    def multiplied(layer: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        eps = source.normal(3, layer.name, (2 * size, output.shape[-1]), output)
        return layer.base(*args) + (1 + sigmas[layer.name] * eps[:, None]) * layer.delta(*args)

    for layer in residuals(plain).values():
        layer.register_forward_hook(multiplied)
    with torch.no_grad():
        twice = plain(batch.images.repeat(2, 1, 1))
    assert not torch.allclose(*twice.chunk(2))
    torch.testing.assert_close(ours, twice, rtol=0, atol=1e-10)


def test_q_and_v_of_a_fused_layer_are_adapted_apart_where_heads_share_a_value(make: MakeSpec, folders: Path) -> None:
    """Four heads of eight share two of k and v: rows 0 to 32 are q, the last 16 v."""
    model, _ = adapted(folders, make("phi3", method={"targets": "q,v"}), "phi3")
    layers = residual_layers(model)
    assert list(layers) == [f"model.layers.{n}.self_attn.qkv_proj" for n in range(2)]
    change = layers["model.layers.0.self_attn.qkv_proj"].low_rank.matrix()
    assert change.shape == (64, 32)
    assert bool((change[32:48] == 0).all())
    assert bool((change[:32] != 0).any())
    assert bool((change[48:] != 0).any())


def test_a_run_learns_and_asks_the_test_problems_at_its_end(make: MakeSpec, tmp_path: Path) -> None:
    pace = {"name": "pace", "sigma": 0.1, "lambda": 0.01}
    spec = make(regularizer=pace, training={"epochs": 20})
    result, losses = trained(spec, tmp_path)
    assert losses[-1] < 0.2 * losses[0]
    assert result.value("test", "exact_match") > 0.4
    assert result.trainable_parameters == result.adapter_parameters, "the head is pretrained and left alone"
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    right = sum(row["answer"] == row["predicted"] for row in rows) / len(rows)
    assert right == pytest.approx(result.value("test", "exact_match"))
    asked = INSTRUCTION + rows[0]["problem"]
    said = CliRunner().invoke(app, ["predict", str(tmp_path), asked, "--json"])
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout)["texts"][0]["reply"] == rows[0]["reply"]


def test_the_pretrained_model_is_asked_without_training(make: MakeSpec, tmp_path: Path) -> None:
    result, losses = trained(make(training={"epochs": 0, "warmup_epochs": 0}), tmp_path)
    assert losses == []
    assert [(m.split, m.metric, m.epoch) for m in result.metrics] == [
        ("test", "exact_match", 0),
        ("test", "strict_match", 0),
    ]


def test_micro_batches_leave_the_loss_as_it_is(make: MakeSpec, tmp_path: Path) -> None:
    """Answers differ in length, and every token to be predicted counts alike."""
    given = {"regularizer": {"name": "pace", "sigma": 0.5}, "task": {"measured_samples": 1}}
    training = {"epochs": 1, "precision": "float64"}
    whole, parts = (
        trained(make(training={**training, "micro_batch": size}, **given), tmp_path)[1] for size in (None, 3)
    )
    assert whole == pytest.approx(parts, rel=1e-9)


@pytest.mark.parametrize("regularizer", [{"name": "none"}, {"name": "pace", "sigma": 0.5}], ids=lambda r: r["name"])
def test_blocks_that_are_computed_again_give_the_same_run(
    make: MakeSpec, tmp_path: Path, regularizer: dict[str, Any]
) -> None:
    given = {"regularizer": regularizer, "task": {"measured_samples": 1}, "method": {"dropout": 0.2}}
    training = {"epochs": 2, "precision": "float64", "micro_batch": 3}
    kept, again = (
        trained(make(training={**training, "recompute": on}, **given), tmp_path / str(on))[1] for on in (False, True)
    )
    assert kept == pytest.approx(again, rel=1e-12)


def test_blocks_that_are_computed_again_keep_less(make: MakeSpec, folders: Path) -> None:
    def kept(recompute: bool) -> int:
        model, batch = adapted(folders, make())
        if recompute:
            recompute_blocks(model, Pass(SeededSource(0)))
        sizes: list[int] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.train()(batch.images)
        return sum(sizes)

    assert kept(True) < 0.5 * kept(False)


def test_frozen_weights_in_half_the_memory_give_nearly_the_same_run(make: MakeSpec, tmp_path: Path) -> None:
    spec = make(backbone={"frozen_dtype": "bfloat16"}, training={"precision": "bfloat16"}, regularizer={"name": "pace"})
    given = causal.load(spec.backbone)
    compute = Compute(given.preprocessing, choose_precision(spec.training, torch.device("cpu")), torch.device("cpu"))
    model = adapt_for_run(spec, given.model, 1, compute)
    kinds = {(parameter.requires_grad, parameter.dtype) for parameter in model.parameters()}
    assert kinds == {(False, torch.bfloat16), (True, torch.float32)}
    _, halved = trained(spec, tmp_path / "halved")
    _, whole = trained(make(training={"precision": "bfloat16"}, regularizer={"name": "pace"}), tmp_path / "whole")
    assert halved == pytest.approx(whole, rel=0.05)
    with pytest.raises(RunError, match=r"backbone.frozen_dtype: bfloat16 needs training.precision bfloat16"):
        trained(make(backbone={"frozen_dtype": "bfloat16"}), tmp_path / "auto")


def test_the_side_on_which_a_tokenizer_pads_changes_neither_loss_nor_answers(make: MakeSpec, tmp_path: Path) -> None:
    right, left = (trained(make(network), tmp_path / network) for network in ("llama", "pads_left"))
    assert right[1] == left[1]
    replies = [(tmp_path / network / "predictions.csv").read_text() for network in ("llama", "pads_left")]
    assert replies[0] == replies[1]


def test_a_problem_is_answered_alone_as_in_a_batch_of_longer_ones(make: MakeSpec, folders: Path) -> None:
    given = loaded(folders)
    device = torch.device("cpu")
    precision = choose_precision(make(training={"precision": "float32"}).training, device)
    problems = [question for question, _ in DIALOGUES]
    together = replies_of(given.model, problems, 8, given.preprocessing, precision, device)
    alone = [replies_of(given.model, [one], 8, given.preprocessing, precision, device)[0] for one in problems]
    assert together == alone


def test_examples_stand_before_each_question(folders: Path) -> None:
    params = Params(path=str(folders / "gsm8k"), shots=1)
    splits = SOURCE.load(
        params, phase="final", num_classes=1, preprocessing=loaded(folders).preprocessing, reporter=Told()
    )
    first = "what is 0 plus 0\n0 + 0 = 0\n#### 0\n\n"
    assert splits.test.problems[1] == f"{INSTRUCTION}{first}what is 1 plus 0"
    assert splits.test.numbers[1] == "1"


def test_both_layouts_hold_the_same_and_faults_are_told_at_once(folders: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        rows = [json.loads(line) for line in (folders / "gsm8k" / f"{split}.jsonl").read_text().splitlines()]
        (tmp_path / "hub" / "main").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hub" / "main" / f"{split}-00000-of-00001.parquet")
    hashes = {SOURCE.fingerprint(Params(path=str(p)), phase="final") for p in (folders / "gsm8k", tmp_path / "hub")}
    assert len(hashes) == 1
    (tmp_path / "train.jsonl").write_text('{"question": "a", "answer": "5"}\nno json\n{"question": "a"}\n[]\n')
    with pytest.raises(RunError) as failed:
        SOURCE.survey(Params(path=str(tmp_path)), phase="search")
    assert failed.value.message.splitlines() == [
        "train.jsonl line 1: the answer has no `#### ` with a number",
        "train.jsonl line 2: is no JSON",
        "train.jsonl line 3: has no question and answer, but {'question': 'a'}",
        "train.jsonl line 4: has no question and answer, but []",
    ]


def test_a_search_cuts_its_problems_out_of_the_training_set(folders: Path) -> None:
    report = SOURCE.survey(Params(path=str(folders / "gsm8k")), phase="search")
    assert report.images["val"] > 0
    assert report.images["train"] + report.images["val"] <= 40


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": {"name": "linear"}}, "linear trains a new classifier"),
        ({"regularizer": {"name": "pace_fast"}}, "pace_fast keeps one row"),
        ({"training": {"diagnostics": True}}, "is of classes and scores"),
    ],
)
def test_what_needs_a_classifier_is_refused(change: dict[str, Any], said: str) -> None:
    raw = {"task": {"name": "gsm8k/main"}, "backbone": {"name": "a/b"}, "method": {"name": "lora_add"}, **change}
    with pytest.raises(SpecError, match=said):
        validate(raw)


def test_every_row_of_the_table_has_a_recipe_with_the_origin_of_each_field() -> None:
    recipe = load_recipes()["gsm8k"]
    assert [row.label for row in recipe.rows] == ["Pre-trained", "Full", "LoRA", "LoRA+PACE"]
    for row in recipe.rows:
        validate(spec_of_recipe("gsm8k", row.label, "main"))
        assert None not in origins(recipe, row, "main").values()
