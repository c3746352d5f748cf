"""Reclaims never take turns: with fixed demand, starting and reclaiming come to an end, whatever the order.

A toy cluster without nodes: every gang wants to run; a gang starts where it fits and is allowed to, or reclaims,
evicting any victims that it may have in any order. Evicted gangs wait again. As what is wanted in all does not change,
neither do the shares.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.scheduling.queues.rights import Rights
from fairlead.scheduling.queues.shares import fair_shares
from fairlead.scheduling.queues.tree import ROOT, Entitlement, QueueTree, QueueView
from fairlead.scheduling.queues.usage import Holdings, Running
from fairlead.scheduling.snapshot import Amounts

_RESOURCES = ("x", "y")


class _Toy:
    def __init__(self, tree: QueueTree, capacity: Amounts, gangs: Sequence[Running], seed: int) -> None:
        self.tree, self.capacity, self.gangs = tree, capacity, gangs
        self.holdings = Holdings(tree)
        requested: dict[str, dict[str, int]] = {}
        for gang in gangs:
            mine = requested.setdefault(gang.queue, {})
            for name, amount in gang.demand.items():
                mine[name] = mine.get(name, 0) + amount
        self.shares = fair_shares(tree, capacity, requested)
        self.rights = Rights(tree, self.shares, self.holdings)
        self.random = random.Random(seed)
        self.evictions = 0

    def fits(self, gang: Running) -> bool:
        held = self.holdings.of(ROOT)
        return all(held.get(name, 0) + amount <= self.capacity[name] for name, amount in gang.demand.items())

    def starts(self, gang: Running) -> bool:
        if not self.fits(gang) or not self.rights.may_start(gang.queue, gang.demand, gang.is_preemptible).is_allowed:
            return False
        self.holdings.put(gang)
        return True

    def reclaims(self, gang: Running) -> bool:
        """Evict until it fits; undo all if it never does."""
        evicted: list[Running] = []
        while not self.fits(gang):
            allowed = [
                other
                for other in self.holdings
                if self.rights.may_reclaim(gang.queue, gang.demand, other, 0.0).is_allowed
            ]
            offered = {other.key for other in self.rights.reclaimable(gang.queue, gang.demand, 0.0)}
            assert offered == {other.key for other in allowed}
            if not allowed:
                break
            evicted.append(self.random.choice(allowed))
            self.holdings.drop(evicted[-1].key)
        if evicted and self.starts(gang):
            self.evictions += len(evicted)
            return True
        for other in evicted:
            self.holdings.put(other)
        return False

    def preempts(self, gang: Running) -> bool:
        """Evict less important gangs of the same queue until it may start and fits; undo all if it never does."""
        evicted: list[Running] = []
        while not self.starts(gang):
            allowed = [
                other
                for other in self.holdings
                if self.rights.may_preempt(gang.queue, gang.priority, other, 0.0).is_allowed
            ]
            if not allowed:
                for other in evicted:
                    self.holdings.put(other)
                return False
            evicted.append(self.random.choice(allowed))
            self.holdings.drop(evicted[-1].key)
        return True

    def step(self, with_preemption: bool = False) -> bool:
        """One start, reclaim or preemption, at random; False where none is possible any more."""
        waiting = [gang for gang in self.gangs if gang.key not in self.holdings]
        self.random.shuffle(waiting)
        if any(self.starts(gang) or self.reclaims(gang) for gang in waiting):
            return True
        return with_preemption and any(self.preempts(gang) for gang in waiting)


@st.composite
def _toys(draw: st.DrawFn) -> _Toy:
    views: list[QueueView] = []
    for i in range(draw(st.integers(2, 5))):
        resources = {
            name: Entitlement(
                draw(st.one_of(st.none(), st.integers(0, 4))),
                draw(st.sampled_from([0.0, 1.0, 2.0])),
                draw(st.one_of(st.none(), st.none(), st.integers(2, 8))),
            )
            for name in _RESOURCES
        }
        parent = draw(st.sampled_from([ROOT, *(view.name for view in views)]))
        views.append(QueueView(f"q{i}", parent, draw(st.integers(0, 1)), resources))
    tree = QueueTree(views)
    leaves = [name for name, node in tree.nodes.items() if name and not node.children]
    gangs = [
        Running(
            f"g{i}",
            draw(st.sampled_from(leaves)),
            {"x": draw(st.integers(1, 4)), "y": draw(st.integers(0, 3))},
            draw(st.integers(0, 1)),
            float(draw(st.integers(0, 3))),
            is_preemptible=draw(st.integers(0, 7)) > 0,
        )
        for i in range(draw(st.integers(4, 12)))
    ]
    capacity = {name: draw(st.integers(3, 12)) for name in _RESOURCES}
    toy = _Toy(tree, capacity, gangs, draw(st.integers(0, 1000)))
    # One queue comes first and takes what it can, so that there is something to take back.
    for gang in gangs:
        if gang.queue == gangs[0].queue:
            toy.starts(gang)
    return toy


@settings(max_examples=120, deadline=None)
@given(_toys(), st.booleans())
def test_starting_and_reclaiming_comes_to_an_end(toy: _Toy, with_preemption: bool) -> None:
    """Preemption within queues is outside the proof in `rights`: that it ends too is tried here only."""
    steps = 0
    while toy.step(with_preemption):
        steps += 1
        assert steps < 2000, "gangs take turns for ever"
        held = toy.holdings.of(ROOT)
        assert all(held.get(name, 0) <= toy.capacity[name] for name in _RESOURCES)


@settings(max_examples=60, deadline=None)
@given(_toys())
def test_a_victim_never_takes_its_place_back(toy: _Toy) -> None:
    """Right after a reclaim, what has just started is not among what its victims' queues may have."""
    for _ in range(200):
        before = {gang.key: gang for gang in toy.holdings}
        if not toy.step():
            break
        after = {gang.key for gang in toy.holdings}
        evicted = [gang for key, gang in before.items() if key not in after]
        started = [gang for gang in toy.holdings if gang.key not in before]
        for victim in evicted:
            for winner in started:
                assert not toy.rights.may_reclaim(victim.queue, victim.demand, winner, 0.0).is_allowed


@settings(max_examples=60, deadline=None)
@given(_toys())
def test_nobody_is_pushed_below_what_it_held_of_its_own(toy: _Toy) -> None:
    """A reclaim leaves every gang in place that holds what is its queue's own."""
    for _ in range(200):
        own = {g.key for g in toy.holdings if toy.holdings.is_own(g, toy.shares.of(g.queue))}
        if not toy.step():
            break
        assert own <= {gang.key for gang in toy.holdings}


def test_the_toy_does_reclaim() -> None:
    """Otherwise the properties above would say nothing."""
    tree = QueueTree([QueueView("a", resources={"x": Entitlement(4)}), QueueView("b", resources={"x": Entitlement(4)})])
    gangs = [Running(f"{name}{i}", name, {"x": 2}, created_s=i) for name in "ab" for i in range(4)]
    toy = _Toy(tree, {"x": 8, "y": 0}, gangs, 0)
    for gang in gangs[:4]:
        assert toy.starts(gang)
    while toy.step():
        pass
    assert toy.evictions == 2
    assert {name: toy.holdings.of(name)["x"] for name in "ab"} == {"a": 4, "b": 4}
