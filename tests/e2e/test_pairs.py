"""Pairs of a method and a regularizer, submitted by REST, each run to its accuracy."""

import math
from collections import Counter
from typing import Any

import pytest

from pace_core.spec import load_catalogue
from tests.stack import Stack, Watched

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(600)]

SMALL = {"rank": 4, "population": 4, "parents": 2, "mutations": 1, "crossovers": 1, "generations": 1}
SMALL |= {"supernet_epochs": 1, "budget": 10**9}


def pairs() -> list[tuple[str, str]]:
    """Every method of ours and some of `peft`, each with the regularizer least taken so far that can work with it."""
    catalogue = load_catalogue()
    names = [name for name in catalogue.methods if ":" not in name] + ["peft:HRA", "peft:LN_TUNING"]
    taken = Counter[str]()
    found: list[tuple[str, str]] = []
    for name in names:
        given = set(catalogue.methods[name].gives)
        able = [r for r, entry in catalogue.regularizers.items() if set(entry.needs) <= given]
        chosen = min(able, key=lambda regularizer: taken[regularizer])
        taken[chosen] += 1
        found.append((name, chosen))
    return found


def spec_of(method: str, regularizer: str) -> dict[str, Any]:
    known = load_catalogue().methods[method].params.get("properties", {})
    return {
        "task": {"name": "vtab-mini/digits", "phase": "search", "train_images": 32},
        "method": {"name": method} | {name: value for name, value in SMALL.items() if name in known},
        "regularizer": {"name": regularizer},
        "training": {"epochs": 1, "warmup_epochs": 0.1, "schedule": "step", "batch_size": 16},
    }


def test_every_method_and_every_regularizer_runs_through_rest_to_their_accuracy(stack: Stack) -> None:
    chosen = pairs()
    assert len(chosen) >= 20
    assert {regularizer for _, regularizer in chosen} == set(load_catalogue().regularizers)
    answers = [stack.rest.post("/v1/jobs", json={"spec": spec_of(*pair)}) for pair in chosen]
    assert [answer.status_code for answer in answers] == [202] * len(chosen), [answer.text for answer in answers]
    for (method, regularizer), answer in zip(chosen, answers, strict=True):
        history = Watched(stack, answer.json()["id"]).ended()
        assert history.job.state == "succeeded", f"{method} × {regularizer}: {history.job.message}"
        assert (history.job.spec["method"]["name"], history.job.spec["regularizer"]["name"]) == (method, regularizer)
        values = [item for event in history.of("metrics") for item in event.data["values"].items()]
        losses = [value for name, value in values if name in ("train/loss", "supernet/loss")]
        assert losses
        assert all(math.isfinite(loss) for loss in losses)
        assert 0 <= history.job.result.value("val") <= 1
