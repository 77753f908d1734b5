"""What is kept for a time only."""

from service.retention import forget
from tests.service.api import SPEC, Api

DAY_S = 86_400.0


async def test_old_entries_of_the_audit_and_old_answers_are_forgotten(api: Api) -> None:
    for key in ("old", "new"):
        await api.call("POST", "/v1/jobs", json={"spec": SPEC}, headers={"Idempotency-Key": key})
    await api.sql("UPDATE audit SET at = now() - interval '101 days' WHERE id = (SELECT min(id) FROM audit)")
    await api.sql("UPDATE idempotency_keys SET created_at = now() - interval '49 hours' WHERE key = 'old'")
    await forget(api.database, 102 * DAY_S)
    assert len((await api.get("/v1/audit"))["data"]) == 2
    assert await api.sql("SELECT key FROM idempotency_keys") == [("new",)]
    await forget(api.database, 100 * DAY_S)
    assert len((await api.get("/v1/audit"))["data"]) == 1
    assert len((await api.get("/v1/jobs"))["data"]) == 2, "jobs are never forgotten by themselves"
