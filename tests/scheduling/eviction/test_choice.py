"""The choice by itself: places are counted once, groups and their topology are seen to one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairlead.scheduling.eviction import Budgets, Bystander, EvictionLimits, PriorityRights, find_room
from fairlead.scheduling.eviction.case import Question
from fairlead.scheduling.eviction.choice import Chooser
from fairlead.scheduling.eviction.draft import Draft
from fairlead.scheduling.eviction.needs import need_of
from fairlead.scheduling.eviction.reasons import Reasons
from fairlead.scheduling.eviction.rights import NoLedger
from fairlead.scheduling.eviction.steps import Steps
from fairlead.scheduling.eviction.units import units_to_evict
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang, Group, Topology
from fairlead.scheduling.snapshot import HOST
from fairlead.scheduling.verdict import Cleared
from scheduling.eviction.worlds import NOW_S, fleet_of, gang, run


def choose(fleet: Fleet, wanted: Gang, others: Sequence[Bystander]) -> tuple[bool, list[str]]:
    reasons = Reasons()
    need, outlook, steps = need_of(wanted), Outlook(fleet), Steps(10**6)
    units = units_to_evict(
        Question(outlook, wanted, need, others, PriorityRights(), Budgets(), {}, steps, NOW_S), reasons
    )
    draft = Draft(fleet, units, NoLedger(), Budgets().tally(), reasons)
    rows = [row for row, node in enumerate(fleet.nodes) if node is not None]
    with draft.trial():
        found = Chooser(outlook, units, draft, steps).choose(need, rows)
        return found, [pod.name for unit, _ in draft.taken for pod in unit.pods]


def room(fleet: Fleet, wanted: Gang, others: Sequence[Bystander]) -> list[str]:
    limits = EvictionLimits(moves=False)
    found = find_room(Outlook(fleet), wanted, others, PriorityRights(), Budgets(), NOW_S, limits)
    assert isinstance(found, Cleared), found
    return sorted(pod.name for each in found.victims for pod in each.pods)


def test_places_of_a_node_that_is_taken_bit_by_bit_are_counted_once() -> None:
    """Costs that differ a little make the choice go back and forth between the nodes."""
    fleet = fleet_of(8, 8)
    others = run(
        fleet,
        *(gang(f"g{i}", 1, on=[f"n{i % 2}"], started_s=NOW_S - 3600 - i) for i in range(16)),
    )
    found, taken = choose(fleet, gang("new", *[1] * 10, priority=5), others)
    assert found
    assert len(taken) == 10


def test_room_that_is_there_is_used() -> None:
    fleet = fleet_of(3, 3)
    others = run(fleet, gang("a", 2, on=["n0"]), gang("b", 3, on=["n1"]))
    assert choose(fleet, gang("new", 1, 1, priority=5), others) == (True, ["a-0"])
    assert choose(fleet, gang("new", 1, priority=5), others) == (True, [])


def test_it_says_when_even_all_are_not_enough() -> None:
    fleet = fleet_of(1, 1)
    others = run(fleet, gang("a", 1, on=["n0"]), gang("b", 1, on=["n1"], priority=9))
    assert not choose(fleet, gang("new", 1, 1, priority=5), others)[0]


def test_a_gang_whose_every_node_is_of_use_costs_no_more_than_single_pods() -> None:
    fleet = fleet_of(*[1] * 8)
    others = run(
        fleet,
        gang("wide", 1, 1, 1, 1, on=["n0", "n1", "n2", "n3"]),
        *(gang(f"g{i}", 1, on=[f"n{i}"]) for i in range(4, 8)),
    )
    assert room(fleet, gang("new", 1, 1, 1, 1, priority=5), others) == [f"wide-{i}" for i in range(4)]
    assert len(room(fleet, gang("new", 1, priority=5), others)) == 1


def parts(name: str, sizes: Sequence[int], topology: Topology) -> Gang:
    """A gang of two groups alike, each of which shares its own domain."""
    flat = gang(name, *sizes, *sizes, priority=5)
    pods = flat.root.pods
    groups = tuple(
        Group(f"{name}-{i}", pods[at : at + len(sizes)], minimum=len(sizes), topology=topology)
        for i, at in enumerate((0, len(sizes)))
    )
    return replace(flat, root=Group(name, groups=groups, minimum=len(pods)))


def test_every_group_gets_its_own_domain() -> None:
    fleet = fleet_of(2, 2, 2, 2, 2, 2, racks=["r0", "r0", "r1", "r1", "r2", "r2"])
    others = run(
        fleet,
        *(gang(f"g{i}", 2, on=[f"n{i}"], priority=priority) for i, priority in enumerate((1, 0, 0, 3, 1, 1))),
    )
    assert room(fleet, parts("new", [2, 2], Topology(("rack",))), others) == ["g0-0", "g1-0", "g4-0", "g5-0"]


def test_groups_that_each_share_a_host() -> None:
    fleet = fleet_of(4, 4, 3)
    others = run(
        fleet,
        *(gang(f"a{i}", 2, on=["n0"], priority=1) for i in range(2)),
        *(gang(f"b{i}", 2, on=["n1"], priority=1) for i in range(2)),
        *(gang(f"c{i}", 1, on=["n2"]) for i in range(3)),
    )
    assert len(room(fleet, parts("new", [2, 2], Topology((HOST,))), others)) == 4


def test_slices_each_share_a_host() -> None:
    fleet = fleet_of(4, 4, 3)
    others = run(
        fleet,
        gang("a", 4, on=["n0"]),
        gang("b", 4, on=["n1"]),
        gang("c", 3, on=["n2"]),
    )
    flat = gang("new", 2, 2, 2, 2, priority=5)
    wanted = replace(flat, root=replace(flat.root, topology=Topology(slice_size=2, slice_level=HOST)))
    assert room(fleet, wanted, others) == ["a-0", "b-0"]


def test_pods_that_have_nodes_already_say_which_domain_it_is() -> None:
    fleet = fleet_of(2, 2, 2, racks=["r0", "r1", "r1"])
    others = run(fleet, gang("a", 2, on=["n0"]), gang("b", 2, on=["n2"], priority=3))
    grown = gang("grown", 2, 2, on=["n1", "n1"], priority=5, required=("rack",), minimum=2)
    bound, pending = grown.root.bound[:1], replace(grown.root.bound[1], node="")
    grown = replace(grown, root=replace(grown.root, bound=bound, pods=(pending,)))
    run(fleet, grown)
    assert room(fleet, grown, others) == ["b-0"]


def test_an_elastic_gang_gets_room_for_its_minimum() -> None:
    fleet = fleet_of(1, 1, 1)
    others = run(fleet, *(gang(f"g{i}", 1, on=[f"n{i}"]) for i in range(3)))
    assert len(room(fleet, gang("new", 1, 1, 1, priority=5, minimum=2), others)) == 2
