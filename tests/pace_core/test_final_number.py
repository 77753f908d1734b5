"""The final number of an answer, as GSM8K and models write it."""

from decimal import Decimal

import pytest

from pace_core.final_number import final_number, marked_number


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("5 * 3 = 15\n#### 15", "15"),
        ("#### 3\nno, wait\n#### 1,234", "1234"),
        ("#### -7", "-7"),
        ("#### $18.00", "18"),
        ("The answer is 42. That is 6 * 7.", "42"),
        ("the final answer is: **$1,000**, of 3 people", "1000"),
        ("He has 3 and buys 4, so 7.", "7"),
        ("That makes 2.5 hours", "2.5"),
        ("it costs .50", "0.5"),
        ("12,5", "125"),
        ("I do not know", None),
        ("", None),
    ],
)
def test_the_final_number(reply: str, number: str | None) -> None:
    assert final_number(reply) == (None if number is None else Decimal(number))


def test_strictly_a_number_counts_behind_the_mark_alone() -> None:
    assert marked_number("the answer is 5") is None
    assert marked_number("#### 5") == 5
