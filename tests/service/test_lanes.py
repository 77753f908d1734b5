"""However many different needs somebody's jobs have, a claim looks at so many only; none is passed over for ever."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.service.api import CPU, Api

_COPIES = """
    DO $$ DECLARE names text; BEGIN
        SELECT string_agg(quote_ident(column_name), ', ') INTO names FROM information_schema.columns
        WHERE table_name = 'jobs' AND is_generated = 'NEVER' AND column_name NOT IN ('id', 'owner', 'priority', 'lane');
        EXECUTE format('INSERT INTO jobs (id, owner, priority, lane, %%1$s)
            SELECT ''job_'' || lpad(n::text, 26, ''0''), ''eve'', 40, ''["auto", 1, ["room", "'' || n || ''"]]'', %%1$s
            FROM jobs, generate_series(1, 5000) AS n', names);
        ANALYZE jobs;
    END $$
"""
SLOTS: list[dict[str, Any]] = [{**CPU, "name": f"s{n}", "node": f"n{n}"} for n in range(16)]


_counting: list[list[int]] = []


def _count(_connection: Any, cursor: Any, *_: Any) -> None:
    for counted in _counting:
        counted.append(cursor.rowcount)


event.listen(Engine, "after_cursor_execute", _count)  # for good: it may not go while a statement is under way


@pytest.fixture
def rows() -> Iterator[list[int]]:
    """How many rows each statement of a claim had for an answer."""
    _counting.append([])
    yield _counting[0]
    _counting.clear()


async def test_thousands_of_different_needs_are_looked_at_part_by_part(api: Api, rows: list[int]) -> None:
    ours = await api.submit()
    await api.sql(_COPIES)
    rooms = [{**slot, "labels": {"room": str(n)}} for n, slot in enumerate(SLOTS, start=1)]
    rows.clear()
    taken = [lease["job"] for lease in (await api.lease(rooms))["leases"]]
    assert max(rows) < 2_000
    assert ours in taken, "whoever asks for little is not in the crowd's way"
    assert len(taken) == 16, "the oldest of each owner are always among them"


async def test_a_job_behind_thousands_that_fit_nowhere_gets_its_turn(api: Api) -> None:
    job = await api.submit(priority=1)
    await api.sql(_COPIES)
    await api.sql("UPDATE jobs SET owner = 'eve'")
    for _ in range(300):
        if taken := (await api.lease([CPU]))["leases"]:
            break
    assert [lease["job"] for lease in taken] == [job]
