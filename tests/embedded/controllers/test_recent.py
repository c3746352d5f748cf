"""A copy that lags behind our own writes must not make us repeat them."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.controllers.recent import FORGET_AFTER_S, Recent
from fairlead.kube.informer import Informer
from fairlead.kube.resources import Resource, WatchEvent

Object = dict[str, Any]
PODS = Resource.of("v1", "pods", "Pod")


def pod(number: int, version: int) -> Object:
    owner = {"uid": "rs", "kind": "ReplicaSet", "name": "rs", "apiVersion": "apps/v1", "controller": True}
    meta = {"name": f"p{number}", "namespace": "d", "uid": f"u{number}", "resourceVersion": str(version)}
    return {"metadata": meta | {"ownerReferences": [owner]}}


class Lagging:
    """An informer whose events arrive when the test says so."""

    def __init__(self) -> None:
        self.informer: Informer[Object] = Informer(None, PODS)  # type: ignore[arg-type]
        self.informer._version = "0"
        self.waiting: list[tuple[str, Object]] = []
        self.version = 0

    def happens(self, kind: str, number: int) -> Object:
        self.version += 1
        obj = pod(number, self.version)
        self.waiting.append((kind, obj))
        return obj

    def deliver(self, count: int) -> None:
        for kind, obj in self.waiting[:count]:
            self.informer._apply(WatchEvent(kind, obj, obj["metadata"]["resourceVersion"]))
        del self.waiting[:count]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.booleans()), max_size=25))
def test_the_number_of_children_is_right_however_late_the_copy_is(moves: list[tuple[int, int, bool]]) -> None:
    async def play() -> None:
        world = Lagging()
        recent = Recent(world.informer)
        alive: set[int] = set()
        made = 0
        for wanted, delivered, answer_is_late in moves:
            # A child of ours that someone else removed is known to be gone only when the copy says so.
            owned = recent.overlay("rs", list(world.informer.store), 0.0)
            assert {o["metadata"]["uid"] for o in owned} == {f"u{n}" for n in alive}
            for _ in range(wanted - len(owned)):
                made += 1
                obj = world.happens("ADDED", made)
                alive.add(made)
                if answer_is_late:
                    world.deliver(delivered)
                recent.created(obj, 0.0)
            for doomed in sorted(alive)[wanted:]:
                world.happens("DELETED", doomed)
                alive.discard(doomed)
                recent.deleted(f"u{doomed}", 0.0)
            world.deliver(delivered)
        world.deliver(len(world.waiting))
        assert {o["metadata"]["uid"] for o in recent.overlay("rs", list(world.informer.store), 0.0)} == {
            f"u{n}" for n in alive
        }

    asyncio.run(play())


def test_a_child_that_came_and_went_between_two_looks_is_gone() -> None:
    async def play() -> None:
        world = Lagging()
        recent = Recent(world.informer)
        recent.created(world.happens("ADDED", 1), 0.0)
        world.happens("DELETED", 1)
        world.deliver(2)
        assert recent.overlay("rs", list(world.informer.store), 1.0) == []

    asyncio.run(play())


def test_what_the_copy_never_shows_is_forgotten() -> None:
    recent = Recent()
    recent.created(pod(1, 1), 0.0)
    assert len(recent.overlay("rs", [], FORGET_AFTER_S)) == 1
    assert recent.overlay("rs", [], FORGET_AFTER_S + 1) == []
