"""Small cases against an exhaustive search, and what always holds: whole gangs, budgets, nothing in vain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fairlead.kube.selectors import from_labels
from fairlead.scheduling.eviction import (
    Budget,
    Budgets,
    Bystander,
    EvictionLimits,
    NoRoom,
    PriorityRights,
    Rank,
    find_room,
    stands_without,
)
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.snapshot import PodFacts, PodView
from fairlead.scheduling.verdict import Cleared
from scheduling.eviction.worlds import GPU, HOUR_S, NOW_S, fits, fleet_of, gang, place_plainly, run, state_of, subsets

RACKS = ("r0", "r0", "r1", "r1")
OURS = 5
EVICT = EvictionLimits(moves=False)


class World:
    def __init__(self, fleet: Fleet, others: Sequence[Bystander], wanted: Gang, budget: int | None) -> None:
        self.fleet, self.others, self.wanted, self.budget = fleet, others, wanted, budget

    def __repr__(self) -> str:
        nodes = [node.allocatable[GPU] for node in self.fleet.nodes if node is not None]
        gangs = [
            f"{o.gang.name} p{o.gang.priority} min {o.gang.root.minimum}: "
            + ", ".join(f"{pod.shape.requests[GPU]}@{pod.node}{pod.labels['app']}" for pod in o.pods)
            for o in self.others
        ]
        root = self.wanted.root
        sizes = [pod.shape.requests[GPU] for pod in root.pods]
        return f"{nodes}; {gangs}; wanted {sizes} min {root.minimum} {root.topology.required}; budget {self.budget}"

    @property
    def budgets(self) -> Budgets:
        if self.budget is None:
            return Budgets()
        return Budgets([Budget("ns", "b", from_labels({"app": "x"}), self.budget)])

    def room(self, limits: EvictionLimits = EVICT) -> Cleared | NoRoom:
        return find_room(Outlook(self.fleet), self.wanted, self.others, PriorityRights(), self.budgets, NOW_S, limits)


@st.composite
def worlds(draw: st.DrawFn, most_gangs: int = 4, most_nodes: int = 4) -> World:
    nodes = draw(st.integers(1, most_nodes))
    free = draw(st.lists(st.integers(1, 4), min_size=nodes, max_size=nodes))
    fleet = fleet_of(*free, racks=RACKS[:nodes])
    gangs = []
    for number in range(draw(st.integers(1, most_gangs))):
        sizes, on = [], []
        for _ in range(draw(st.integers(1, 3))):
            row = draw(st.integers(0, nodes - 1))
            size = draw(st.integers(1, 3))
            if size <= free[row]:
                free[row] -= size
                sizes.append(size)
                on.append(f"n{row}")
        if sizes:
            work = draw(st.sampled_from(["", "batch", "serving"]))
            made = gang(
                f"g{number}", *sizes, on=on, priority=draw(st.integers(0, 6)), minimum=draw(st.integers(1, len(sizes))),
                started_s=NOW_S - HOUR_S * draw(st.integers(0, 9)), facts=PodFacts(work=work),
            )  # fmt: skip
            labels = {"app": draw(st.sampled_from(["x", "y"]))}
            bound = tuple(replace(pod, labels=labels) for pod in made.bound)
            gangs.append(replace(made, root=replace(made.root, bound=bound)))
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    required = draw(st.sampled_from([(), ("rack",)]))
    wanted = gang("new", *sizes, priority=OURS, required=required, minimum=draw(st.integers(1, len(sizes))))
    return World(fleet, run(fleet, *gangs), wanted, draw(st.one_of(st.none(), st.integers(0, 3))))


def free_without(world: World, gone: set[str]) -> dict[str, int]:
    free = {}
    for row, node in enumerate(world.fleet.nodes):
        assert node is not None
        held = sum(s.pod.shape.requests[GPU] for uid, s in world.fleet.on[row].items() if uid not in gone)
        free[node.name] = node.allocatable[GPU] - held
    return free


def rank_of(world: World, gone: Sequence[tuple[Bystander, PodView]]) -> Rank:
    gangs = {other: other.gang.priority for other, _ in gone}
    factor = {"": 1.0, "batch": 0.001, "serving": 2.0}
    cost = 0.0
    for _, pod in gone:
        assert pod.facts is not None and pod.started_s is not None
        cost += factor[pod.facts.work] * (1 + (NOW_S - pod.started_s) / HOUR_S)
    level = max(gangs.values(), default=float("-inf"))
    return Rank(0, level, len(gone), len(gangs), sum(gangs.values()), round(cost, 6))


def best(world: World) -> Rank | None:
    """The rank of the best set of pods among all sets that may go."""
    pods = [(other, pod) for other in world.others for pod in other.pods if other.gang.priority < OURS]
    ranks = []
    racks = dict(zip((f"n{i}" for i in range(4)), RACKS, strict=True))
    for chosen in subsets(len(pods)):
        gone = [pods[i] for i in chosen]
        uids = {pod.uid for _, pod in gone}
        if may_go(world, gone) and fits(free_without(world, uids), world.wanted, racks):
            ranks.append(rank_of(world, gone))
    return min(ranks, default=None)


def may_go(world: World, gone: Sequence[tuple[Bystander, PodView]]) -> bool:
    uids: Mapping[Bystander, set[str]] = {other: {p.uid for o, p in gone if o is other} for other, _ in gone}
    for other, taken in uids.items():
        if len(taken) < len(other.pods) and not stands_without(other.gang, taken):
            return False
    return world.budget is None or sum(pod.labels["app"] == "x" for _, pod in gone) <= world.budget


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_the_best_victims_are_found_in_small_worlds(world: World) -> None:
    expected, found = best(world), world.room()
    assume(expected is None or expected.pods)
    if expected is None:
        assert isinstance(found, NoRoom)
        return
    assert isinstance(found, Cleared)
    by_gang = {other.gang: other for other in world.others}
    gone = [(by_gang[victims.gang], pod) for victims in found.victims for pod in victims.pods]
    assert rank_of(world, gone) == expected


@settings(max_examples=150, deadline=None)
@given(worlds(most_gangs=9))
def test_plans_hold_from_scratch(world: World) -> None:
    before = state_of(world.fleet)
    found = world.room(EvictionLimits())
    assert state_of(world.fleet) == before
    if isinstance(found, NoRoom):
        assert found.sentence
        return
    moved = {move.pod.uid: move.node for move in found.moves}
    gone = {pod.uid for victims in found.victims for pod in victims.pods}
    assert moved.keys() <= gone
    for victims in found.victims:
        everything = {pod.uid for pod in victims.gang.bound}
        taken = {pod.uid for pod in victims.pods}
        assert victims.is_whole == (taken == everything) or not victims.is_whole
        assert taken == everything or stands_without(victims.gang, taken)
        assert found.kind == "consolidation" or victims.gang.priority < OURS
    if world.budget is not None:
        assert sum(pod.labels["app"] == "x" for v in found.victims for pod in v.pods) <= world.budget
    fresh = world.fleet
    with fresh.trial():
        for uid in gone:
            fresh.lift(uid, frees_claims=True)
        pods = {pod.uid: pod for pod in world.wanted.pods}
        for uid, node in found.nominations.items():
            fresh.put(pods[uid], fresh.row_of[node])
        for move in found.moves:
            fresh.put(move.pod, fresh.row_of[move.node])
        assert len(found.nominations) >= world.wanted.root.minimum
        assert found.kind != "consolidation" or moved.keys() == gone
        assert all(fresh.free(row, GPU) >= 0 for row in range(len(fresh.nodes)))


@settings(max_examples=100, deadline=None)
@given(worlds(most_gangs=9))
def test_nobody_leaves_in_vain(world: World) -> None:
    found = world.room()
    if isinstance(found, NoRoom):
        return
    outlook = Outlook(world.fleet)
    for spared in found.victims:
        if not spared.is_whole:
            continue
        with world.fleet.trial():
            for victims in found.victims:
                for pod in victims.pods if victims is not spared else ():
                    world.fleet.lift(pod.uid, frees_claims=True)
            assert not hasattr(place_plainly(outlook, world.wanted), "assignments")
