"""Room that was cleared for a gang, held until it is placed: pods on the fleet that stand for those to come.

They take what the proof gave them, devices included, beside the victims that are still leaving, so that nobody else
gets what these leave behind. Gangs of the same queue and a higher priority may have it where they find
no other room; batch work never that of serving.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from fairlead.scheduling.eviction.bystanders import serves, yields
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.verdict import Assignment, Cleared

PREFIX: Final = "room-for/"
"""Of the uids of stand-ins and of what they hold; the rest is the uid of the pod, or of its claim's name."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is held for one gang."""

    gang: Gang
    assignments: tuple[Assignment, ...]
    nominations: Mapping[str, str]
    until_s: float


class Promises(Protocol):
    """Who counts what gangs will hold, as `Turns`."""

    def promise(self, gang: Gang, pods: Sequence[PodView]) -> None: ...
    def withdraw(self, key: str) -> None: ...


class Reservations:
    """All that is held on a fleet. What is held counts as a fact there: an undo does not take it back."""

    def __init__(
        self, fleet: Fleet, queue_of: Callable[[Gang], str] = lambda _: "", promises: Promises | None = None
    ) -> None:
        """`queue_of`: the queue in which a gang counts. `promises` is told of what is held at the moment."""
        self._fleet = fleet
        self._queue_of = queue_of
        self._promises = promises
        self._held: dict[str, Reservation] = {}
        self._priorities: Counter[int] = Counter()
        self._standing: set[str] = set()
        self._told: dict[str, float] = {}
        self._moving: dict[str, tuple[Assignment, float]] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __iter__(self) -> Iterator[Reservation]:
        return iter(self._held.values())

    def get(self, key: str) -> Reservation | None:
        """What is held for the gang of a key ("namespace/name")."""
        return self._held.get(key)

    @property
    def told(self) -> AbstractSet[str]:
        """Uids of the pods that were told to leave, for as long as room was to be held for it."""
        return self._told.keys()

    @property
    def moving(self) -> tuple[Assignment, ...]:
        """Where pods are to go that were told to leave because they have a place elsewhere.

        Nothing is held there on the fleet, as those that come in their stead have other names; but no other move may
        count on the same place.
        """
        return tuple(assignment for assignment, _ in self._moving.values())

    def hold(self, cleared: Cleared, until_s: float) -> None:
        """Holds the places of a verdict until then; what was held for the gang before is dropped."""
        key = cleared.gang.key
        self.drop(key)
        self._held[key] = Reservation(cleared.gang, cleared.assignments, cleared.nominations, until_s)
        self._priorities[cleared.gang.priority] += 1
        self._put(key)
        self._told |= {pod.uid: until_s for victims in cleared.victims for pod in victims.pods}
        self._moving |= {each.pod.uid: (each, until_s) for each in cleared.moves}

    def drop(self, key: str) -> bool:
        """Nothing is held for the gang any more: it is placed, gone, or has had its time. False: nothing was."""
        if key not in self._held:
            return False
        self._lift(key)
        priority = self._held.pop(key).gang.priority
        self._priorities[priority] -= 1
        if not self._priorities[priority]:
            del self._priorities[priority]
        return True

    def stay(self, uids: Iterable[str]) -> None:
        """These pods were told to leave and do not: a disruption budget kept them, or the plan was given up."""
        for uid in uids:
            self._told.pop(uid, None)
            self._moving.pop(uid, None)

    def expire(self, now_s: float) -> tuple[str, ...]:
        """Drops what is over; whose it was."""
        over = tuple(key for key, each in self._held.items() if now_s >= each.until_s)
        for key in over:
            self.drop(key)
        self._told = {uid: until_s for uid, until_s in self._told.items() if now_s < until_s}
        self._moving = {uid: each for uid, each in self._moving.items() if now_s < each[1]}
        return over

    @contextmanager
    def opened(self, gang: Gang, *, keeps: bool = False, own_only: bool = False) -> Iterator[None]:
        """Inside, the room held for the gang itself is free and, but for `own_only`, that of those it goes before.

        At the end all of it is held again, but for the gang's own if it was placed meanwhile (drop it inside), and for
        what others had on nodes where pods have come: theirs is to be decided anew. With `keeps` nothing is given up:
        what comes inside is only on trial.
        """
        aside = [] if own_only else self._behind(gang)
        if gang.key in self._held:
            aside.append(gang.key)
        for key in aside:
            self._lift(key)
        start = self._fleet.log.end
        try:
            yield
        finally:
            taken = self._came_since(start) if aside and not keeps else frozenset()
            for key in aside:
                if key in self._held:
                    self._put(key)
                    if key != gang.key and not taken.isdisjoint(self._held[key].nominations.values()):
                        self.drop(key)

    def are_behind(self, gang: Gang) -> bool:
        """Whether room is held for others that the gang goes before."""
        return bool(self._behind(gang))

    def is_possible(self, key: str) -> bool:
        """Whether the nodes are there on which room is held for the gang."""
        return all(node in self._fleet.row_of for node in self._held[key].nominations.values())

    def _behind(self, gang: Gang) -> list[str]:
        """Priorities count within a queue only; work that gives way to serving does not go before it."""
        if min(self._priorities, default=gang.priority) >= gang.priority:
            return []
        lower = [key for key, each in self._held.items() if each.gang.priority < gang.priority and key != gang.key]
        queue, gives_way = self._queue_of(gang), yields(gang)
        return [
            key
            for key in lower
            if self._queue_of(self._held[key].gang) == queue and not (gives_way and serves(self._held[key].gang))
        ]

    def _came_since(self, start: int) -> frozenset[str]:
        """Nodes with more pods than at that point of the log."""
        more: Counter[int] = Counter()
        for change in self._fleet.log.since(start) or ():
            more[change.row] += change.delta
        nodes = (self._fleet.nodes[row] for row, count in more.items() if count > 0)
        return frozenset(node.name for node in nodes if node is not None)

    def _put(self, key: str) -> None:
        self._standing.add(key)
        held = self._held[key]
        if self._promises is not None:
            self._promises.promise(held.gang, [each.pod for each in held.assignments])
        _put(self._fleet, held.assignments)

    def _lift(self, key: str) -> None:
        if key not in self._standing:
            return
        self._standing.discard(key)
        if self._promises is not None:
            self._promises.withdraw(key)
        _lift(self._fleet, self._held[key].assignments)


@contextmanager
def stand_ins(fleet: Fleet, assignments: Iterable[Assignment]) -> Iterator[None]:
    """Inside, other pods stand on the fleet for these, with their devices."""
    places = tuple(assignments)
    _put(fleet, places)
    try:
        yield
    finally:
        _lift(fleet, places)


def is_stand_in(pod: PodView) -> bool:
    """Whether a pod on the fleet only stands for one to come."""
    return pod.uid.startswith(PREFIX)


def _stand_in(pod: PodView) -> PodView:
    return replace(pod, uid=PREFIX + pod.uid, claims=(), own_claims=())


def _claim_uid(pod: PodView, name: str) -> str:
    return f"{PREFIX}{pod.namespace}/{name}"


def _put(fleet: Fleet, assignments: Iterable[Assignment]) -> None:
    for each in assignments:
        row = fleet.row_of.get(each.node)
        if row is None:
            continue
        fleet.put(_stand_in(each.pod), row)
        for name, allocation in each.allocations.items():
            fleet.devices.hold(_claim_uid(each.pod, name), allocation)


def _lift(fleet: Fleet, assignments: Iterable[Assignment]) -> None:
    for each in assignments:
        fleet.lift(PREFIX + each.pod.uid)
        for name in each.allocations:
            fleet.devices.release(_claim_uid(each.pod, name))
