"""What gangs may do: start, reclaim, preempt, each with its sentence."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.scheduling.queues.rights import Ground, Rights
from fairlead.scheduling.queues.tree import QueueTree, QueueView
from fairlead.scheduling.queues.usage import Holdings, Running
from scheduling.queues.queue_objects import GPU, gpu_shares, queue, running, shares_for


def _rights(views: list[QueueView], gangs: list[Running], gpus: int = 16, **pending: int) -> Rights:
    tree = QueueTree(views)
    holdings = Holdings(tree, gangs)
    return Rights(tree, shares_for(tree, holdings, gpus, **pending), holdings)


def test_over_the_limit() -> None:
    rights = _rights([queue("a", limit=8)], [running("x", "a", 6)])
    right = rights.may_start("a", {GPU: 4})
    assert (right.is_allowed, right.ground, right.queue, right.resource) == (False, Ground.OVER_LIMIT, "a", GPU)
    assert right.sentence == (
        "queue a has 6 of at most 8 nvidia.com/gpu, 4 more would exceed its limit; "
        "raise spec.resources[nvidia.com/gpu].limit or wait until 2 are released"
    )
    assert rights.may_start("a", {GPU: 2}).is_allowed
    assert rights.may_start("a", {GPU: 4}, leaving=[running("x", "a", 6)]).is_allowed
    assert not rights.may_start("a", {GPU: 4}, leaving=[running("y", "default", 6)]).is_allowed
    assert "may never have more than 8 nvidia.com/gpu, and the gang needs 9" in rights.may_start("a", {GPU: 9}).sentence


def test_over_the_limit_of_a_queue_above() -> None:
    views = [queue("o", limit=8), queue("a", parent="o"), queue("b", parent="o")]
    right = _rights(views, [running("x", "b", 6)]).may_start("a", {GPU: 3})
    assert (right.ground, right.queue) == (Ground.OVER_LIMIT, "o")


def test_amounts_are_told_in_their_units() -> None:
    from fairlead.scheduling.queues.tree import Entitlement

    limits = {"cpu": Entitlement(limit=1500), "memory": Entitlement(limit=2**31)}
    rights = _rights([QueueView("a", resources=limits)], [])
    assert "at most 1500m cpu" in rights.may_start("a", {"cpu": 1501}).sentence.replace("more than", "at most")
    assert "2Gi memory" in rights.may_start("a", {"memory": 2**32}).sentence


def test_fixed_gangs_stay_within_the_quota() -> None:
    views = [queue("o", 6), queue("a", 4, parent="o"), queue("b", 4, parent="o"), queue("c")]
    gangs = [running("x", "a", 3, is_preemptible=False), running("y", "a", 4)]
    rights = _rights(views, gangs, a=9, b=9)
    assert rights.may_start("a", {GPU: 1}, is_preemptible=False).ground != Ground.OVER_QUOTA
    right = rights.may_start("a", {GPU: 2}, is_preemptible=False)
    assert (right.ground, right.queue) == (Ground.OVER_QUOTA, "a")
    assert "quota of queue a, 4 nvidia.com/gpu, of which such gangs hold 3; it needs 2" in right.sentence
    assert rights.may_start("b", {GPU: 4}, is_preemptible=False).queue == "o", "the parent's quota binds"
    assert rights.may_start("c", {GPU: 1}, is_preemptible=False).ground == Ground.OVER_QUOTA
    assert rights.may_start("c", {"cpu": 1}, is_preemptible=False).is_allowed, "nobody has a quota of cpu"
    assert rights.may_start("a", {GPU: 2}, False, leaving=[gangs[0]]).is_allowed


def test_borrowing_is_told() -> None:
    rights = _rights([queue("a", 4), queue("b", 4)], [running("x", "a", 4)], gpus=10, a=4, b=9)
    assert rights.may_start("b", {GPU: 4}).ground == Ground.WITHIN_QUOTA
    assert rights.may_start("b", {GPU: 5}).ground == Ground.WITHIN_SHARE
    right = rights.may_start("b", {GPU: 6})
    assert (right.is_allowed, right.ground) == (True, Ground.BORROWS)
    assert "it will hold 6 nvidia.com/gpu, more than its fair share of 5" in right.sentence
    assert not rights.may_start("unknown", {GPU: 1}).is_allowed


_AB = [queue("a", 8), queue("b", 8)]


def _borrowed() -> list[Running]:
    return [running(f"b{i}", "b", 4, created_s=i, started_s=1000.0) for i in range(4)]


def test_reclaim_takes_what_is_borrowed_only() -> None:
    gangs = _borrowed()
    rights = _rights(_AB, gangs, a=8)
    right = rights.may_reclaim("a", {GPU: 8}, gangs[3], 5000.0)
    assert (right.is_allowed, right.ground, right.resource) == (True, Ground.RECLAIMS, GPU)
    refused = rights.may_reclaim("a", {GPU: 8}, gangs[0], 5000.0)
    assert refused.ground == Ground.VICTIM_OWN and "b0 is among the first gangs of queue b" in refused.sentence
    assert [gang.key for gang in rights.reclaimable("a", {GPU: 8}, 5000.0)] == ["b3", "b2"]


def test_reclaim_stops_at_the_victims_share() -> None:
    tree = QueueTree(_AB)
    holdings = Holdings(tree, _borrowed())
    rights = Rights(tree, shares_for(tree, holdings, 16, a=8), holdings)
    taken = []
    for gang in rights.reclaimable("a", {GPU: 8}, 5000.0):
        taken.append(gang.key)
        holdings.drop(gang.key)
    assert taken == ["b3", "b2"]
    right = rights.may_reclaim("a", {GPU: 8}, _borrowed()[1], 5000.0)
    assert right.ground == Ground.VICTIM_WITHIN_SHARE and "queue b" in right.sentence


def test_reclaimer_stays_within_its_share() -> None:
    gangs = [running("mine", "a", 4), *_borrowed()[1:]]
    rights = _rights(_AB, gangs, a=9)
    assert rights.may_reclaim("a", {GPU: 4}, gangs[-1], 0.0).is_allowed
    right = rights.may_reclaim("a", {GPU: 5}, gangs[-1], 0.0)
    assert right.ground == Ground.OVER_SHARE
    assert "queue a would hold 9 nvidia.com/gpu, more than its fair share of 8" in right.sentence


def test_reclaim_needs_a_resource_that_the_victim_holds_too_much_of() -> None:
    tree = QueueTree(_AB)
    cpu_hog = Running("hog", "b", {"cpu": 9000, GPU: 2})
    holdings = Holdings(tree, [cpu_hog])
    from fairlead.scheduling.queues.shares import fair_shares

    requested = {"a": {"cpu": 8000, GPU: 8}, "b": {"cpu": 16000, GPU: 2}}
    rights = Rights(tree, fair_shares(tree, {"cpu": 16000, GPU: 16}, requested), holdings)
    assert rights.may_reclaim("a", {"cpu": 1000}, cpu_hog, 0.0).is_allowed
    assert rights.may_reclaim("a", {GPU: 1}, cpu_hog, 0.0).ground == Ground.VICTIM_WITHIN_SHARE


def test_reclaim_compares_where_the_queues_part() -> None:
    """Department o is within its share, so d gets nothing of it; within o, a takes from b."""
    views = [queue("o", 8), queue("a", 4, parent="o"), queue("b", 4, parent="o"), queue("d", 8)]
    gangs = [running("b0", "b", 4, created_s=0), running("b1", "b", 4, created_s=1)]
    rights = _rights(views, gangs, a=8, d=16)
    outside = rights.may_reclaim("d", {GPU: 4}, gangs[1], 0.0)
    assert (outside.ground, outside.queue) == (Ground.VICTIM_WITHIN_SHARE, "o")
    assert rights.may_reclaim("a", {GPU: 4}, gangs[1], 0.0).is_allowed
    assert [gang.key for gang in rights.reclaimable("a", {GPU: 4}, 0.0)] == ["b1"]
    assert list(rights.reclaimable("d", {GPU: 4}, 0.0)) == []


def test_every_queue_of_the_reclaimer_stays_within_its_share() -> None:
    views = [queue("o", 4), queue("a", 4, parent="o"), queue("c", parent="o"), queue("b", 4)]
    gangs = [running("c0", "c", 4), *[running(f"b{i}", "b", 4, created_s=i) for i in range(3)]]
    right = _rights(views, gangs, gpus=16, a=4).may_reclaim("a", {GPU: 4}, gangs[-1], 0.0)
    assert right.is_allowed, "o's fair share is 8"
    scarce = _rights([*views[:3], queue("b", 12)], gangs, gpus=16, a=4).may_reclaim("a", {GPU: 4}, gangs[-1], 0.0)
    assert (scarce.ground, scarce.queue) == (Ground.OVER_SHARE, "o")


def test_guaranteed_run_time_is_told_until_when() -> None:
    gangs = _borrowed()
    rights = _rights([queue("a", 8), queue("b", 8, reclaim_min_runtime_s=600)], gangs, a=8)
    right = rights.may_reclaim("a", {GPU: 8}, gangs[3], 1599.0)
    assert (right.ground, right.until_s) == (Ground.MIN_RUNTIME, 1600.0)
    assert "b3 may not be reclaimed before 1970-01-01T00:26:40Z: queue b guarantees its gangs 600 s" in right.sentence
    assert rights.may_reclaim("a", {GPU: 8}, gangs[3], 1600.0).is_allowed
    assert rights.may_reclaim("a", {GPU: 8}, gangs[3], 300.0).is_allowed, "the clock was set back by more than that"
    assert list(rights.reclaimable("a", {GPU: 8}, 1599.0)) == []


@pytest.mark.parametrize(
    ("fields", "ground"),
    [({"is_preemptible": False}, Ground.NOT_PREEMPTIBLE), ({"started_s": 1e300}, Ground.RECLAIMS)],
)
def test_victims_that_are_spared(fields: dict[str, Any], ground: Ground) -> None:
    views = [queue("a", 8), queue("b", 8, reclaim_min_runtime_s=600)]
    victim = running("v", "b", 16, **fields)
    assert _rights(views, [victim], a=8).may_reclaim("a", {GPU: 8}, victim, 0.0).ground == ground


def test_reclaim_of_odd_queues() -> None:
    victim = running("v", "gone", 16)
    rights = _rights([*_AB, queue("o"), queue("c", parent="o")], [victim, running("old", "o", 4)], a=8)
    assert rights.may_reclaim("a", {GPU: 8}, victim, 0.0).ground == Ground.NO_QUEUE
    assert rights.may_reclaim("gone", {GPU: 8}, victim, 0.0).ground == Ground.SAME_QUEUE
    assert rights.may_reclaim("o", {GPU: 1}, running("w", "c", 1), 0.0).ground == Ground.SAME_QUEUE
    assert list(rights.reclaimable("gone", {GPU: 1}, 0.0)) == []


def test_gangs_of_a_queue_that_got_children_hold_what_is_the_childrens() -> None:
    tree = QueueTree([queue("o", 8), queue("c", 8, parent="o")])
    old = running("old", "o", 8)
    holdings = Holdings(tree, [old])
    rights = Rights(tree, gpu_shares(tree, 8, c=8), holdings)
    assert rights.may_reclaim("c", {GPU: 8}, old, 0.0).is_allowed
    assert [gang.key for gang in rights.reclaimable("c", {GPU: 8}, 0.0)] == ["old"]


def test_preemption_within_a_queue() -> None:
    victim = running("v", "a", 4, priority=5, started_s=100.0)
    rights = _rights([queue("a", preempt_min_runtime_s=60), queue("b")], [victim])
    assert rights.may_preempt("a", 6, victim, 160.0).ground == Ground.PREEMPTS
    assert rights.may_preempt("a", 5, victim, 160.0).ground == Ground.PRIORITY
    assert rights.may_preempt("b", 9, victim, 160.0).ground == Ground.OTHER_QUEUE
    spared = rights.may_preempt("a", 6, victim, 159.0)
    assert (spared.ground, spared.until_s) == (Ground.MIN_RUNTIME, 160.0)
    assert rights.may_preempt("a", 9, running("w", "a", 1, is_preemptible=False), 0.0).ground == Ground.NOT_PREEMPTIBLE
