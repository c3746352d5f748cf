"""Who makes room: rights, minimal sets, whole gangs, budgets, and what is said when nobody does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from fairlead.kube.selectors import from_labels
from fairlead.scheduling.eviction import (
    Budget,
    Budgets,
    Bystander,
    EvictionLimits,
    NoRoom,
    PriorityRights,
    find_room,
)
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang, Group
from fairlead.scheduling.snapshot import PodFacts
from fairlead.scheduling.verdict import Cleared
from scheduling.eviction.worlds import HOUR_S, NOW_S, fleet_of, gang, leaving, run, state_of

EVICT = EvictionLimits(moves=False)
NO_BUDGETS = Budgets()
BY_PRIORITY = PriorityRights()


def clear(
    fleet: Fleet,
    wanted: Gang,
    others: Sequence[Bystander],
    *,
    budgets: Budgets = NO_BUDGETS,
    rights: PriorityRights = BY_PRIORITY,
    limits: EvictionLimits = EVICT,
) -> Cleared | NoRoom:
    before = state_of(fleet)
    found = find_room(Outlook(fleet), wanted, others, rights, budgets, NOW_S, limits)
    assert state_of(fleet) == before
    return found


def names(found: Cleared | NoRoom) -> list[str]:
    assert isinstance(found, Cleared), found
    return sorted(pod.name for victims in found.victims for pod in victims.pods)


def test_lower_priority_makes_room() -> None:
    fleet = fleet_of(4)
    others = run(fleet, gang("low", 2, on=["n0"], priority=1), gang("high", 2, on=["n0"], priority=9))
    found = clear(fleet, gang("new", 2, priority=5), others)
    assert names(found) == ["low-0"]
    assert isinstance(found, Cleared)
    assert found.kind == "preemption"
    assert found.nominations == {"new-0": "n0"}
    assert found.victims[0].why == "makes room for PodGroup ns/new: its priority 1 is below 5"
    assert found.why == "1 gang (1 pod) gives way for PodGroup ns/new"


def test_the_lowest_priority_goes_even_where_more_have_to() -> None:
    fleet = fleet_of(2, 2)
    others = run(fleet, gang("a", 1, on=["n0"]), gang("b", 1, on=["n0"]), gang("c", 2, on=["n1"], priority=1))
    assert names(clear(fleet, gang("new", 2, priority=5), others)) == ["a-0", "b-0"]


def test_fewer_pods_go_among_equals() -> None:
    fleet = fleet_of(2, 2)
    others = run(fleet, gang("a", 1, on=["n0"]), gang("b", 1, on=["n0"]), gang("c", 2, on=["n1"]))
    assert names(clear(fleet, gang("new", 2, priority=5), others)) == ["c-0"]


def test_a_large_gang_is_no_better_a_victim_than_two_pods() -> None:
    fleet = fleet_of(2, 2, 2)
    others = run(
        fleet, gang("a", 2, on=["n0"]), gang("b", 2, on=["n1"]), gang("many", 1, 1, on=["n2", "n2"]),
    )  # fmt: skip
    assert names(clear(fleet, gang("new", 2, priority=5), others)) in (["a-0"], ["b-0"])


def test_work_that_costs_less_goes_first() -> None:
    fleet = fleet_of(1, 1, 1, 1, 1)
    others = run(
        fleet,
        gang("long", 1, on=["n0"], started_s=NOW_S - 50 * HOUR_S),
        gang("nearly-done", 1, on=["n1"], facts=PodFacts(progress=0.9)),
        gang("warm", 1, on=["n2"], facts=PodFacts(warmth=1.0, work="serving")),
        gang("batch", 1, on=["n3"], facts=PodFacts(work="batch"), started_s=NOW_S - 500 * HOUR_S),
        gang("plain", 1, on=["n4"]),
    )
    order = []
    while others:
        (victim,) = names(clear(fleet, gang("new", 1, priority=5), others))
        order.append(victim.removesuffix("-0"))
        others = [other for other in others if other.gang.name != order[-1]]
    assert order == ["batch", "plain", "warm", "nearly-done", "long"]


def test_a_gang_goes_whole_wherever_it_stands() -> None:
    fleet = fleet_of(2, 2)
    others = run(fleet, gang("wide", 2, 2, on=["n0", "n1"]))
    found = clear(fleet, gang("new", 2, priority=5), others)
    assert names(found) == ["wide-0", "wide-1"]
    assert isinstance(found, Cleared) and found.victims[0].is_whole


def test_pods_beyond_the_minimum_go_one_by_one() -> None:
    fleet = fleet_of(2, 2, 2)
    others = run(fleet, gang("elastic", 2, 2, 2, on=["n0", "n1", "n2"], minimum=1))
    found = clear(fleet, gang("new", 2, 2, priority=5), others)
    assert isinstance(found, Cleared)
    assert len(names(found)) == 2
    assert not found.victims[0].is_whole
    assert len(names(clear(fleet, gang("new", 2, 2, 2, priority=5), others))) == 3


def test_a_gang_that_is_disrupted_as_one_gives_up_no_surplus() -> None:
    fleet = fleet_of(2, 2)
    others = run(fleet, gang("elastic", 2, 2, on=["n0", "n1"], minimum=1, disruption="all"))
    assert len(names(clear(fleet, gang("new", 2, priority=5), others))) == 2


def test_groups_of_a_gang_keep_their_own_minimum() -> None:
    fleet = fleet_of(1, 1, 1)
    pods = gang("deep", 1, 1, 1, on=["n0", "n1", "n2"]).bound
    parts = Group("leader", minimum=1, bound=pods[:1]), Group("workers", minimum=1, bound=pods[1:])
    deep = Gang("ns", "deep", Group("deep", groups=parts, minimum=2), "LeaderWorkerSet")
    others = run(fleet, deep)
    assert names(clear(fleet, gang("new", 1, priority=5), others))[0] in ("deep-1", "deep-2")
    assert len(names(clear(fleet, gang("new", 1, 1, priority=5), others))) == 3


def test_leaving_pods_are_waited_for() -> None:
    fleet = fleet_of(1, 1)
    others = run(fleet, leaving(gang("going", 1, on=["n0"])), gang("other", 1, on=["n1"]))
    found = clear(fleet, gang("new", 1, priority=5), others)
    assert isinstance(found, Cleared)
    assert (found.kind, found.victims, found.why) == ("leaving", (), "waits for 1 pod that is leaving")
    both = clear(fleet, gang("new", 1, 1, priority=5), others)
    assert names(both) == ["other-0"]


def test_even_who_may_not_preempt_waits_for_leaving_pods() -> None:
    fleet = fleet_of(1)
    others = run(fleet, leaving(gang("going", 1, on=["n0"])))
    new = gang("new", 1, priority=5)
    polite = replace(new, root=replace(new.root, pods=tuple(replace(p, may_preempt=False) for p in new.pods)))
    assert isinstance(clear(fleet, polite, others), Cleared)


def test_who_may_not_preempt_does_not() -> None:
    fleet = fleet_of(1)
    others = run(fleet, gang("low", 1, on=["n0"]))
    new = gang("new", 1, priority=5)
    polite = replace(new, root=replace(new.root, pods=tuple(replace(p, may_preempt=False) for p in new.pods)))
    found = clear(fleet, polite, others)
    assert isinstance(found, NoRoom)
    assert found.sentence == "PodGroup ns/new evicts nobody: its preemptionPolicy is Never"


def test_who_is_protected_is_counted_by_holder_and_reason() -> None:
    fleet = fleet_of(1, 1, 1, 1, 1)
    pinned = PodFacts(is_mirror_or_daemon=True)
    others = [
        *run(fleet, gang("a", 1, on=["n0"], priority=9), gang("b", 1, on=["n1"], priority=9), queue="batch/queue-b"),
        *run(fleet, gang("c", 1, on=["n2"], facts=pinned), gang("d", 1, on=["n3"], is_preemptible=False)),
        *run(fleet, gang("e", 1, on=["n4"], started_s=NOW_S - 60)),
    ]
    found = clear(fleet, gang("new", 1, priority=5), others, rights=PriorityRights(min_runtime_s=120))
    assert isinstance(found, NoRoom)
    assert found.lines == (
        "2 held by batch/queue-b, not preemptible: its priority 9 is not below 5",
        "1 held by PodGroup ns/c, never evicted: static pods and those of DaemonSets belong to their node",
        "1 held by PodGroup ns/d, not preemptible",
        "1 held by PodGroup ns/e, not preemptible: within its min-runtime until 1970-02-11 16:01 UTC",
    )
    assert found.until_s == NOW_S + 60


def test_budgets_are_honoured() -> None:
    fleet = fleet_of(1, 1)
    low = [gang(name, 1, on=[node]) for name, node in (("a", "n0"), ("b", "n1"))]
    labelled = [
        replace(g, root=replace(g.root, bound=tuple(replace(p, labels={"app": "x"}) for p in g.bound))) for g in low
    ]
    others = run(fleet, *labelled)
    one = Budgets([Budget("ns", "keep", from_labels({"app": "x"}), 1)])
    assert len(names(clear(fleet, gang("new", 1, priority=5), others, budgets=one))) == 1
    found = clear(fleet, gang("new", 1, 1, priority=5), others, budgets=one)
    assert isinstance(found, NoRoom)
    assert found.lines in (
        ("1 held by PodGroup ns/a, protected: PodDisruptionBudget ns/keep allows 1 more disruption",),
        ("1 held by PodGroup ns/b, protected: PodDisruptionBudget ns/keep allows 1 more disruption",),
    )
    critical = clear(fleet, gang("new", 1, 1, priority=2_000_000_000), others, budgets=one)
    assert len(names(critical)) == 2


def test_a_required_domain_is_cleared_as_a_whole() -> None:
    fleet = fleet_of(2, 2, 2, 2, racks=["r0", "r0", "r1", "r1"])
    others = run(
        fleet,
        gang("a", 2, on=["n0"]),
        gang("b", 2, on=["n1"], priority=3),
        gang("c", 2, on=["n2"], priority=1),
        gang("d", 2, on=["n3"], priority=2),
    )
    assert names(clear(fleet, gang("new", 2, 2, priority=5, required=("rack",)), others)) == ["c-0", "d-0"]


def test_different_pods_of_a_gang_get_different_victims() -> None:
    fleet = fleet_of(4, 1)
    others = run(fleet, gang("a", 4, on=["n0"]), gang("b", 1, on=["n1"]))
    assert names(clear(fleet, gang("new", 1, 4, priority=5), others)) == ["a-0", "b-0"]


def test_the_search_ends_at_its_budget() -> None:
    fleet = fleet_of(*[1] * 20)
    others = run(fleet, *(gang(f"g{i}", 1, on=[f"n{i}"]) for i in range(20)))
    found = clear(fleet, gang("new", 1, priority=5), others, limits=EvictionLimits(budget=3, moves=False))
    assert isinstance(found, NoRoom)
    assert found.is_cut_off
    assert found.sentence == "the search for room for PodGroup ns/new was cut off after 3 steps: raise its budget"


@pytest.mark.parametrize("size", [1, 2, 4])
def test_small_work_is_moved_for_a_large_gang(size: int) -> None:
    fleet = fleet_of(4, 4, 4)
    others = run(
        fleet,
        gang("a", 1, on=["n0"], priority=9),
        gang("b", 1, on=["n1"], priority=9),
        gang("c", 1, 1, on=["n2", "n2"], priority=9),
    )
    found = clear(fleet, gang("new", 4, priority=5), others, limits=EvictionLimits())
    assert isinstance(found, Cleared)
    assert found.kind == "consolidation"
    assert len(names(found)) == 1
    (move,) = found.moves
    assert move.node not in found.nominations.values()
    assert size


def test_nothing_is_moved_to_an_empty_node() -> None:
    fleet = fleet_of(4, 3)
    others = run(fleet, gang("a", 1, on=["n0"], priority=9))
    assert isinstance(clear(fleet, gang("new", 4, priority=5), others, limits=EvictionLimits()), NoRoom)


def test_nothing_is_moved_within_its_min_runtime() -> None:
    fleet = fleet_of(4, 4)
    others = run(fleet, gang("a", 1, on=["n0"], priority=9), gang("b", 1, on=["n1"], priority=9))
    wanted, limits = gang("new", 4, priority=5), EvictionLimits()
    assert isinstance(clear(fleet, wanted, others, limits=limits), Cleared)
    assert isinstance(clear(fleet, wanted, others, limits=limits, rights=PriorityRights(2 * HOUR_S)), NoRoom)


def test_a_budget_is_not_used_up_by_whom_it_does_not_help_to_evict() -> None:
    fleet = fleet_of(3)
    low = [gang("small", 1, on=["n0"]), gang("large", 2, on=["n0"])]
    labelled = [
        replace(g, root=replace(g.root, bound=tuple(replace(p, labels={"app": "x"}) for p in g.bound))) for g in low
    ]
    others = run(fleet, *labelled)
    one = Budgets([Budget("ns", "keep", from_labels({"app": "x"}), 1)])
    assert names(clear(fleet, gang("new", 2, priority=5), others, budgets=one)) == ["large-0"]
