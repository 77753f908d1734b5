"""Waiting for a suite or study where there is no terminal: lines by which one sees that it goes on."""

from collections.abc import Callable

from service.client.cli.waiting import Standing, wait_with_bar


class FakeClock:
    """A clock that waits for nobody."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds


def lines(ended_at: dict[float, int], lasts: float, capsys: Callable[[], str], beside: str = "") -> list[str]:
    """What is printed for four jobs, of which so many have ended after so many seconds."""
    clock = FakeClock()

    def seconds() -> float:
        return clock.now - 1000

    def standing(_: None) -> Standing:
        done = max((count for at, count in ended_at.items() if at <= seconds()), default=0)
        return Standing(done, 4, beside, timed=bool(beside))

    wait_with_bar(
        None,
        lambda: None,
        lambda _: seconds() < lasts,
        standing,
        lambda: f"PACE on digits, seed 1: train epoch {int(seconds() / 30)}/9",
        unit="runs",
        goes_on="",
        clock=clock,
    )
    return capsys().splitlines()


def test_a_line_comes_every_half_minute_though_no_job_ends(capsys) -> None:
    assert lines({}, 95, lambda: capsys.readouterr().out) == [
        "0 of 4 runs ended; PACE on digits, seed 1: train epoch 0/9",
        "0 of 4 runs ended; PACE on digits, seed 1: train epoch 1/9",
        "0 of 4 runs ended; PACE on digits, seed 1: train epoch 2/9",
        "0 of 4 runs ended; PACE on digits, seed 1: train epoch 3/9",
    ]


def test_what_has_ended_is_told_within_ten_seconds_with_the_time_that_is_left(capsys) -> None:
    said = lines({40: 1, 42: 2, 100: 3}, 115, lambda: capsys.readouterr().out)
    assert [line.partition("; PACE")[0] for line in said] == [
        "0 of 4 runs ended",
        "0 of 4 runs ended",
        "1 of 4 runs ended; about 2 min left",
        "2 of 4 runs ended; about 51 s left",
        "2 of 4 runs ended; about 81 s left",
        "3 of 4 runs ended; about 33 s left",
    ]


def test_a_time_that_the_service_knows_is_not_guessed_again(capsys) -> None:
    (first, *_) = lines({0: 0, 1: 2}, 20, lambda: capsys.readouterr().out, beside="9 min of one slot left")
    assert first == "2 of 4 runs ended; 9 min of one slot left; PACE on digits, seed 1: train epoch 0/9"
