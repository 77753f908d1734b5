"""Work beside the requests, which is not to end in silence."""

import asyncio

import pytest
from structlog.testing import capture_logs

from service import background
from service.background import keep_going


@pytest.mark.parametrize("failure", [RuntimeError("boom"), TimeoutError(), None])
async def test_work_that_fails_or_ends_begins_again_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, failure: Exception | None
) -> None:
    monkeypatch.setattr(background, "AGAIN_S", 0.0)
    begun: list[int] = []
    at_work = asyncio.Event()

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) == 3:
            at_work.set()
            await asyncio.Event().wait()
        if failure:
            raise failure

    with capture_logs() as said:
        going = asyncio.create_task(keep_going("end lost attempts", work))
        async with asyncio.timeout(5):
            await at_work.wait()
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
    assert begun == [0, 1, 2]
    assert [(line["log_level"], line["work"]) for line in said] == [("error", "end lost attempts")] * 2
