"""A job ends exactly once, and everything it can do before that is in one table."""

from pace_core.spec import ENDED, LEASED, MOVES, REASONS, State


def test_no_move_leaves_an_ended_state() -> None:
    assert all(not (move.sources & ENDED) for move in MOVES.values())


def test_every_state_but_the_first_is_reached_by_a_move() -> None:
    assert {move.target for move in MOVES.values()} | {State.QUEUED} == set(State)


def test_from_every_living_state_a_job_can_still_end() -> None:
    reaches = set(ENDED)
    for _ in State:
        reaches |= {source for move in MOVES.values() if move.target in reaches for source in move.sources}
    assert reaches == set(State)


def test_only_a_worker_that_holds_the_job_ends_it_well() -> None:
    assert MOVES["succeed"].sources == LEASED


def test_every_end_reason_leads_to_a_state_where_an_attempt_is_over() -> None:
    assert {reason.state for reason in REASONS.values()} <= ENDED | {State.PAUSED}
