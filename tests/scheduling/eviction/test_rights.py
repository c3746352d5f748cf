"""Who may be evicted for whom: priorities, queues, and batch work that fills what serving leaves idle."""

from __future__ import annotations

from fairlead.scheduling.eviction import (
    BackfillRights,
    Budgets,
    Bystander,
    Cause,
    Denial,
    EvictionLimits,
    NoRoom,
    PriorityRights,
    QueueRights,
    Right,
    find_room,
    serves,
    yields,
)
from fairlead.scheduling.eviction.queue_rights import demand_of
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.queues.rights import Rights as QueueRules
from fairlead.scheduling.queues.shares import fair_shares
from fairlead.scheduling.queues.tree import Entitlement, QueueTree, QueueView
from fairlead.scheduling.queues.usage import Holdings, Running
from fairlead.scheduling.snapshot import PodFacts
from fairlead.scheduling.verdict import Cleared
from scheduling.eviction.worlds import GPU, HOUR_S, NOW_S, fleet_of, gang, run

EVICT = EvictionLimits(moves=False)
BATCH = PodFacts(grace_s=45.0, work="batch")
SERVING = PodFacts(work="serving")


class Queues:
    """Two queues with quotas on one fleet, and gangs that run in them."""

    def __init__(self, fleet: Fleet, quotas: dict[str, int], min_runtime_s: float = 0.0, **wanted: int) -> None:
        self.fleet = fleet
        self.tree = QueueTree(
            [
                QueueView(name, resources={GPU: Entitlement(quota)}, reclaim_min_runtime_s=min_runtime_s)
                for name, quota in quotas.items()
            ]
        )
        self.holdings = Holdings(self.tree)
        self.wanted = wanted
        self.others: list[Bystander] = []

    def start(self, *gangs: Gang) -> None:
        self.others += [Bystander(each, each.queue) for each in gangs]
        for other in run(self.fleet, *gangs):
            self.holdings.put(
                Running(
                    other.gang.key, other.gang.queue, {GPU: demand_of(other.pods)[GPU]}, other.gang.priority,
                    other.gang.created_s, other.gang.is_preemptible, other.started_s,
                )
            )  # fmt: skip

    def rights(self) -> BackfillRights:
        capacity = {GPU: sum(node.allocatable[GPU] for node in self.fleet.nodes if node is not None)}
        names = [name for name in self.tree.nodes if name]
        requested = {name: {GPU: self.holdings.of(name).get(GPU, 0) + self.wanted.get(name, 0)} for name in names}
        shares = fair_shares(self.tree, capacity, requested)
        return BackfillRights(QueueRights(QueueRules(self.tree, shares, self.holdings), self.holdings, queue_of))

    def room(self, wanted: Gang, limits: EvictionLimits = EVICT) -> Cleared | NoRoom:
        before = {running.key: running for running in self.holdings}
        found = find_room(Outlook(self.fleet), wanted, self.others, self.rights(), Budgets(), NOW_S, limits)
        assert {running.key: running for running in self.holdings} == before
        return found


def queue_of(each: Gang) -> str:
    return each.queue


def victims(found: Cleared | NoRoom) -> list[str]:
    assert isinstance(found, Cleared), found
    return sorted(each.gang.name for each in found.victims)


def test_a_queue_takes_back_its_share_and_no_more() -> None:
    queues = Queues(fleet_of(4), {"a": 2, "b": 2}, b=3)
    queues.start(*(gang(f"a{i}", 1, on=["n0"], queue="a", created_s=float(i)) for i in range(4)))
    found = queues.room(gang("new", 1, 1, queue="b"))
    assert victims(found) == ["a2", "a3"]
    assert isinstance(found, Cleared) and found.kind == "reclaim"
    refused = queues.room(gang("new", 1, 1, 1, queue="b"))
    assert isinstance(refused, NoRoom)
    assert refused.lines == (
        "4 held by a, not reclaimable: queue b would hold 3 nvidia.com/gpu, "
        "more than its fair share of 2, and beyond that nothing is taken from others",
    )


def test_what_is_a_queues_own_is_told_apart_from_what_it_borrows() -> None:
    queues = Queues(fleet_of(2, 2), {"a": 2, "b": 2}, b=2)
    queues.start(
        gang("own", 2, on=["n0"], queue="a", created_s=1.0), gang("more", 2, on=["n1"], queue="a", created_s=2)
    )
    assert victims(queues.room(gang("new", 2, queue="b"))) == ["more"]
    queues.others = queues.others[:1]
    refused = queues.room(gang("new", 2, queue="b"))
    assert isinstance(refused, NoRoom)
    assert refused.lines == ("1 held by a, not reclaimable: within the fair share of queue a",)


def test_a_guaranteed_runtime_protects_until_it_is_over() -> None:
    queues = Queues(fleet_of(2), {"a": 1, "b": 1}, 2 * HOUR_S, b=1)
    queues.start(*(gang(f"a{i}", 1, on=["n0"], queue="a", created_s=float(i)) for i in range(2)))
    refused = queues.room(gang("new", 1, queue="b"))
    assert isinstance(refused, NoRoom)
    assert refused.lines == ("2 held by a, not reclaimable: within its min-runtime until 1970-02-11 17:00 UTC",)
    assert refused.until_s == NOW_S + HOUR_S


def test_within_a_queue_priority_decides() -> None:
    queues = Queues(fleet_of(2), {"a": 2})
    queues.start(gang("low", 1, on=["n0"], queue="a", priority=1), gang("high", 1, on=["n0"], queue="a", priority=7))
    found = queues.room(gang("new", 1, queue="a", priority=5))
    assert victims(found) == ["low"]
    assert isinstance(found, Cleared) and found.kind == "preemption"


def test_a_move_asks_for_no_share() -> None:
    queues = Queues(fleet_of(2, 2), {"a": 2, "b": 2})
    queues.start(gang("x", 1, on=["n0"], queue="a", priority=9), gang("y", 1, on=["n1"], queue="a", priority=9))
    found = queues.room(gang("new", 2, queue="b"), EvictionLimits())
    assert isinstance(found, Cleared) and found.kind == "consolidation"
    assert len(found.moves) == 1


def test_batch_work_yields_to_serving_whatever_its_runtime_and_priority() -> None:
    rights = BackfillRights(PriorityRights(min_runtime_s=10 * HOUR_S))
    batch, plain = Bystander(gang("b", 1, on=["n0"], facts=BATCH, priority=9)), Bystander(gang("p", 1, on=["n0"]))
    serving = gang("s", 1, facts=SERVING)
    assert rights.to_evict(serving, batch, NOW_S) == Right(
        "reclaim", "batch work gives way to serving, within its grace period of 45 s"
    )
    denied = rights.to_evict(serving, plain, NOW_S)
    assert isinstance(denied, Denial) and denied.cause is Cause.PRIORITY
    assert isinstance(rights.to_evict(gang("other", 1, priority=10), batch, NOW_S), Denial)


def test_batch_work_within_its_own_quota_stays() -> None:
    queues = Queues(fleet_of(2), {"a": 1, "b": 1}, 5 * HOUR_S, b=1)
    queues.start(
        gang("own", 1, on=["n0"], queue="a", facts=BATCH, created_s=1.0),
        gang("fill", 1, on=["n0"], queue="a", facts=BATCH, created_s=2.0),
    )
    assert victims(queues.room(gang("new", 1, queue="b", facts=SERVING))) == ["fill"]
    assert isinstance(queues.room(gang("new", 1, 1, queue="b", facts=SERVING)), NoRoom)


def test_serving_takes_batch_work_before_anything_else() -> None:
    fleet = fleet_of(2, 2)
    others = run(
        fleet,
        gang("b1", 1, on=["n0"], facts=BATCH, priority=3),
        gang("b2", 1, on=["n0"], facts=BATCH, priority=3),
        gang("plain", 2, on=["n1"], priority=0),
    )
    wanted = gang("new", 2, priority=5, facts=SERVING)
    found = find_room(Outlook(fleet), wanted, others, BackfillRights(PriorityRights()), Budgets(), NOW_S, EVICT)
    assert victims(found) == ["b1", "b2"]


def test_what_a_gang_does_is_what_all_of_its_pods_do() -> None:
    assert serves(gang("s", 1, 1, facts=SERVING)) and not yields(gang("s", 1, facts=SERVING))
    assert yields(gang("b", 1, 1, facts=BATCH))
    assert not yields(gang("b", 1, facts=BATCH, is_preemptible=False))
    assert not serves(gang("p", 1)) and not yields(gang("p", 1))


def test_a_search_that_is_cut_off_leaves_the_holdings_as_they_were() -> None:
    queues = Queues(fleet_of(*[1] * 12), {"a": 6, "b": 6}, b=6)
    queues.start(*(gang(f"a{i}", 1, on=[f"n{i}"], queue="a", created_s=float(i)) for i in range(12)))
    cut_off = 0
    for budget in range(1, 60, 3):
        found = queues.room(gang("new", *[1] * 6, queue="b"), EvictionLimits(budget=budget, moves=False))
        cut_off += isinstance(found, NoRoom) and found.is_cut_off
    assert cut_off
