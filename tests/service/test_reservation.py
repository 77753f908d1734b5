"""Nobody waits for ever: priority that ages, and a node that is kept for a job which only an empty one has room for."""

from typing import Any

from service.keys.roles import Role
from service.keys.secrets import create_key
from tests.service.api import CPU, SPEC, Api

WHOLE = 64 << 30
SIX_MINUTES = "6 minutes"


async def submit(
    api: Api, gib: int, *, key: str | None = None, resources: dict[str, Any] | None = None, **more: Any
) -> str:
    asked = {"spec": SPEC, "overrides": {"resources": {"memory_gib": gib, **(resources or {})}}, **more}
    return (await api.call("POST", "/v1/jobs", json=asked, key=key)).json()["id"]


async def wait(api: Api, job: str, time: str) -> None:
    """Lets the job have waited for so long."""
    await api.sql("UPDATE jobs SET created_at = now() - %s::interval WHERE id = %s", time, job)


class Node:
    """A node with so many slots, which tells what is free as a worker does."""

    def __init__(self, api: Api, name: str = "n1", slots: int = 4) -> None:
        self.running: dict[str, dict[str, Any]] = {}
        self._api = api
        self._name = name
        self._count = slots

    def slots(self) -> list[dict[str, Any]]:
        return [
            {**CPU, "name": f"{self._name}-{n}", "node": self._name, "memory_bytes": WHOLE, "node_bytes": WHOLE}
            for n in range(self._count)
        ]


async def fill(api: Api, *nodes: Node) -> list[str]:
    """Lets the free slots of the nodes ask for work: the jobs that they were given."""
    everything = [slot for node in nodes for slot in node.slots()]
    held = [one for node in nodes for one in node.running.values()]
    busy = {one["slot"] for one in held}
    free = [slot for slot in everything if slot["name"] not in busy]
    given = (await api.lease(free, all_slots=everything, holding=held))["leases"]
    for lease in given:
        (node,) = (node for node in nodes if lease["slot"].startswith(f"{node._name}-"))
        node.running[lease["job"]] = {name: lease[name] for name in ("job", "attempt", "slot")}
    return [lease["job"] for lease in given]


async def end(api: Api, node: Node, job: str) -> None:
    await api.end(job, node.running.pop(job)["attempt"], "nan")


async def test_a_day_in_the_queue_counts_ten_points_of_priority(api: Api) -> None:
    six_days, five_days = [await api.submit(priority=20) for _ in range(2)]
    fresh = await api.submit(priority=75)
    await wait(api, six_days, "6 days 1 minute")
    await wait(api, five_days, "5 days 23 hours")
    taken = [(await api.lease([{**CPU, "name": f"cpu-{n}"}]))["leases"][0]["job"] for n in range(3)]
    assert taken == [six_days, fresh, five_days]


async def test_a_job_for_which_only_an_empty_node_has_room_does_not_wait_for_ever_behind_small_ones(api: Api) -> None:
    """Not even behind those of an owner who has fewer running."""
    node = Node(api)
    for _ in range(5):
        await submit(api, 16)
    first = await fill(api, node)
    large = await submit(api, 60)
    async with api.database.transaction() as session:
        grace = await create_key(session, Role.USER, "grace", "default")
    for _ in range(5):
        await submit(api, 16, key=grace)
    await end(api, node, first[0])
    (passing,) = await fill(api, node)
    assert passing != large, "it has not waited long yet: small ones go on"
    await wait(api, large, SIX_MINUTES)
    await end(api, node, passing)
    assert len(await fill(api, node)) == 1, "the last of those that came before it"
    while node.running:
        assert (await api.job(large))["state"] == "queued"
        await end(api, node, next(iter(node.running)))
        given = await fill(api, node)
        if large in given:
            break
        assert given == []
    assert given == [large]
    assert list(node.running) == [large], "it has the node alone"


async def test_the_job_and_those_behind_it_say_what_they_wait_for(api: Api) -> None:
    node = Node(api)
    small = [await submit(api, 8) for _ in range(4)]
    await fill(api, node)
    large, behind = await submit(api, 60), await submit(api, 8)
    assert (await api.job(large))["waiting_for"] == "a free slot"
    await wait(api, large, SIX_MINUTES)
    await end(api, node, small[0])
    assert await fill(api, node) == []
    assert "60.0 GiB of memory on node n1 of local" in (await api.job(large))["waiting_for"]
    assert "node n1 of local is kept for a larger job" in (await api.job(behind))["waiting_for"]
    await api.act(large, "cancel")
    assert await fill(api, node) == [behind], "nothing is kept for a job that is gone"


async def test_a_job_of_a_higher_priority_passes_a_reserved_node(api: Api) -> None:
    node = Node(api)
    small = [await submit(api, 16) for _ in range(4)]
    assert await fill(api, node) == small
    large = await submit(api, 60)
    await wait(api, large, SIX_MINUTES)
    await submit(api, 16)
    urgent = await submit(api, 16, priority=51)
    await end(api, node, small[0])
    assert await fill(api, node) == [urgent]


async def test_one_node_is_reserved_and_the_others_go_on(api: Api) -> None:
    nodes = [Node(api, "n1"), Node(api, "n2")]
    for _ in range(8):
        await submit(api, 16)
    await fill(api, *nodes)
    large = await submit(api, 60)
    for _ in range(4):
        await submit(api, 16)
    await wait(api, large, SIX_MINUTES)
    await end(api, nodes[0], next(iter(nodes[0].running)))
    assert await fill(api, *nodes) == [], "n1 has the most to spare"
    await end(api, nodes[1], next(iter(nodes[1].running)))
    given = await fill(api, *nodes)
    assert len(given) == 1
    assert sorted(len(node.running) for node in nodes) == [3, 4]


async def test_no_node_is_kept_for_a_job_that_no_node_could_run(api: Api) -> None:
    node = Node(api)
    small = [await submit(api, 16) for _ in range(4)]
    await fill(api, node)
    too_large, on_gpu = await submit(api, 100), await submit(api, 60, resources={"requires": {"gpu": "H100"}})
    behind = await submit(api, 16)
    for job in (too_large, on_gpu):
        await wait(api, job, SIX_MINUTES)
    await end(api, node, small[0])
    assert await fill(api, node) == [behind]
