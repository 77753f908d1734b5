"""What a dispatcher says of data that several nodes may have."""

import asyncio
from collections.abc import Mapping

import pytest

from worker import slots
from worker.dispatcher import Dispatcher
from worker.settings import Settings
from worker.slots import Place

BOTH, ONE, NONE = "/data/on-both", "/data/on-one", "/data/on-none"
HAVE: dict[str, Mapping[str, bool]] = {"a": {BOTH: True, ONE: True}, "b": {BOTH: True}}


def dispatcher(monkeypatch: pytest.MonkeyPatch, *nodes: str, gone: str = "") -> Dispatcher:
    """One with two slots on each node, whose actors are named by it."""

    async def has(actor: str, paths: list[str]) -> dict[str, bool]:
        asked.append(actor)
        if actor == gone:
            raise TimeoutError
        return {path: HAVE[actor].get(path, False) for path in paths}

    asked: list[str] = []
    monkeypatch.setattr(slots, "has", has)
    made = Dispatcher(None, Settings())
    places = [Place(f"{node}-{n}", node, node, "cpu", 1.0) for node in nodes for n in range(2)]
    made._actors = {place.name: (place, place.node) for place in places}
    made.asked = asked
    return made


async def test_a_cluster_has_data_that_every_one_of_its_nodes_has(monkeypatch: pytest.MonkeyPatch) -> None:
    made = dispatcher(monkeypatch, "a", "b")
    assert await made._has([BOTH, ONE, NONE]) == {BOTH: True, ONE: False, NONE: False}
    assert sorted(made.asked) == ["a", "b"], "one actor a node looks"


async def test_a_node_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made = dispatcher(monkeypatch, "a", "b", gone="b")
    async with asyncio.timeout(5):
        assert await made._has([BOTH, ONE, NONE]) == {BOTH: True, ONE: True, NONE: False}


async def test_a_cluster_none_of_whose_nodes_answers_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await dispatcher(monkeypatch, "a", gone="a")._has([BOTH]) == {BOTH: False}
    assert await dispatcher(monkeypatch)._has([BOTH]) == {BOTH: False}
