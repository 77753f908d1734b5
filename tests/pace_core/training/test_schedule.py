"""The learning rate; agreement with the authors' schedule stands in tests/golden."""

import pytest

from pace_core.spec import Training
from pace_core.training.schedule import learning_rate

TRAINING = Training(epochs=4, warmup_epochs=1, warmup_lr=1e-6, min_lr=1e-5, schedule="step")


def test_a_short_run_warms_up_and_comes_down_within_its_steps() -> None:
    rates = [learning_rate(TRAINING, 1e-3, step, 10) for step in range(40)]
    assert rates[0] == pytest.approx(1e-6)
    assert rates.index(max(rates)) in (9, 10)
    assert max(rates) > 0.8e-3
    assert rates[39] < 2e-5
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_per_epoch_the_rate_is_constant_within_an_epoch() -> None:
    training = TRAINING.model_copy(update={"schedule": "epoch"})
    assert len({learning_rate(training, 1e-3, step, 10) for step in range(20, 30)}) == 1
