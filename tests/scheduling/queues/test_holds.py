"""Who is kept back by gangs that hold: against the definition, pair by pair."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.scheduling.gangs.model import Gang, Group
from fairlead.scheduling.queues.holds import Holds, Waiting
from fairlead.scheduling.queues.shares import Shares, fair_shares
from fairlead.scheduling.queues.tree import ROOT, QueueTree, QueueView
from fairlead.scheduling.queues.usage import Holdings
from fairlead.scheduling.snapshot import Amounts
from scheduling.queues.queue_objects import GPU, queue, running


def _borrows(tree: QueueTree, holdings: Holdings, shares: Shares, names: tuple[str, ...], gpus: int) -> bool:
    for name in names:
        after = holdings.of(name).get(GPU, 0) + gpus
        is_governed = GPU in tree.governed
        is_over_quota = not is_governed or after > tree.quotas[name].get(GPU, 0)
        if gpus and is_over_quota and after > shares.of(name).get(GPU, 0):
            return True
    return False


def _is_kept_back(
    tree: QueueTree, holdings: Holdings, shares: Shares, holds: list[Waiting], one: Waiting, capacity: Amounts
) -> bool:
    wants = one.demand[GPU]
    for name in (*tree.nodes[one.queue].path, ROOT):
        kept = 0
        for hold in holds:
            if name not in (*tree.nodes[hold.queue].path, ROOT):
                continue
            mine, theirs = tree.parting(one.queue, hold.queue)
            if hold.queue == one.queue:
                kept += hold.demand[GPU] if hold.rank < one.rank else 0
            elif _borrows(tree, holdings, shares, mine, wants) and not _borrows(
                tree, holdings, shares, theirs, hold.demand[GPU]
            ):
                kept += hold.demand[GPU]
        limit = capacity[GPU] if name == ROOT else tree.nodes[name].view.entitlement(GPU).limit
        if wants and kept and limit is not None and wants + kept > limit - holdings.of(name).get(GPU, 0):
            return True
    return False


@st.composite
def _cases(draw: st.DrawFn) -> tuple[QueueTree, Holdings, list[Waiting], int]:
    views: list[QueueView] = []
    for i in range(draw(st.integers(1, 7))):
        parent = draw(st.sampled_from([ROOT, *(view.name for view in views)]))
        quota, limit = draw(st.one_of(st.none(), st.integers(0, 6))), draw(st.one_of(st.none(), st.integers(4, 12)))
        views.append(queue(f"q{i}", quota, limit=limit, parent=parent))
    tree = QueueTree(views)
    leaves = st.sampled_from([name for name, node in tree.nodes.items() if name and not node.children])
    held = [running(f"r{i}", draw(leaves), draw(st.integers(0, 4))) for i in range(draw(st.integers(0, 4)))]
    waiting = []
    for i in range(draw(st.integers(2, 8))):
        gang = Gang(
            "ns", f"g{i}", Group(""), priority=draw(st.integers(0, 1)), created_s=float(draw(st.integers(0, 2)))
        )
        waiting.append(Waiting(gang, draw(leaves), {GPU: draw(st.integers(0, 6))}))
    return tree, Holdings(tree, held), waiting, draw(st.integers(0, 24))


@settings(max_examples=200, deadline=None)
@given(_cases(), st.integers(0, 255))
def test_kept_back_as_defined(case: tuple[QueueTree, Holdings, list[Waiting], int], refused: int) -> None:
    tree, holdings, waiting, gpus = case
    requested: dict[str, dict[str, int]] = {}
    for key, amount in [(r.queue, r.demand[GPU]) for r in holdings] + [(w.queue, w.demand[GPU]) for w in waiting]:
        mine = requested.setdefault(key, {GPU: 0})
        mine[GPU] += amount
    shares = fair_shares(tree, {GPU: gpus}, requested)
    holds = Holds(tree, holdings, shares, 0.0, 10.0)
    candidates = [one for i, one in enumerate(waiting) if refused >> i & 1]
    for one in candidates:
        holds.refuse(one)
    assert not holds.by_queue
    holds.renew(shares, 10.0)
    fitting = [
        one
        for one in candidates
        if one.demand[GPU] <= gpus
        and all(
            (limit := tree.nodes[name].view.entitlement(GPU).limit) is None or one.demand[GPU] <= limit
            for name in tree.nodes[one.queue].path
        )
    ]
    first = {
        name: min((one for one in fitting if one.queue == name), key=lambda one: one.rank)
        for name in {one.queue for one in fitting}
    }
    assert dict(holds.by_queue) == first
    for one in waiting:
        others = [hold for hold in first.values() if hold is not one]
        expected = _is_kept_back(tree, holdings, shares, others, one, {GPU: gpus})
        assert bool(holds.against(one)) == expected
    for one in candidates:
        holds.release(one)
    assert not any(holds.against(one) for one in waiting)
