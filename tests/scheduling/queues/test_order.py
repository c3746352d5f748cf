"""Whose turn it is: against a reference that compares everything anew each time, and the rules one by one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.scheduling.gangs.model import Gang, Group
from fairlead.scheduling.queues.order import Backlog, OrderPolicy, Waiting, demand_of
from fairlead.scheduling.queues.shares import Shares, fair_shares
from fairlead.scheduling.queues.tree import ROOT, Entitlement, QueueTree, QueueView
from fairlead.scheduling.queues.usage import Holdings
from fairlead.scheduling.snapshot import PodView, Shape
from scheduling.queues.queue_objects import GPU, gang, queue, running

_NEVER = OrderPolicy(hold_after_s=None)


def _backlog(
    views: list[QueueView],
    gangs: list[tuple[Gang, str, int]],
    gpus: int = 16,
    policy: OrderPolicy = _NEVER,
    holdings: Holdings | None = None,
) -> Backlog:
    """Gangs with their queues and how many GPUs each wants; shares are up to date."""
    tree = QueueTree(views)
    held = Holdings(tree) if holdings is None else holdings
    backlog = Backlog(tree, held, fair_shares(tree, {GPU: gpus}, {}), 0.0, policy)
    for one, where, wants in gangs:
        backlog.add(one, where, {GPU: wants})
    backlog.renew(fair_shares(tree, {GPU: gpus}, backlog.requested()), 0.0)
    return backlog


def _names(backlog: Backlog, is_placed: bool = True) -> list[str]:
    """All gangs in the order in which they come."""
    found = []
    while (waiting := backlog.next()) is not None:
        found.append(waiting.gang.name)
        if is_placed:
            backlog.placed(waiting.key)
        else:
            backlog.refused(waiting.key)
    return found


def test_within_a_queue_priority_then_age_then_name() -> None:
    gangs = [gang("c", created_s=1), gang("b", created_s=1), gang("old"), gang("vip", priority=1, created_s=9)]
    assert _names(_backlog([], [(one, "default", 1) for one in gangs])) == ["vip", "old", "b", "c"]


def test_the_queue_with_the_smaller_part_of_its_share_is_next() -> None:
    gangs = [(gang(f"a{i}"), "a", 1) for i in range(4)] + [(gang(f"b{i}"), "b", 2) for i in range(2)]
    views = [queue("a", weight=1), queue("b", weight=1)]
    assert _names(_backlog(views, gangs, 8)) == ["a0", "b0", "a1", "a2", "b1", "a3"]


def test_quota_before_share_before_borrowing() -> None:
    """c is within its quota with its gang, a within its fair share, b would borrow: however little they hold."""
    views = [queue("a", weight=3), queue("b", weight=1, priority=0), queue("c", 4)]
    gangs = [(gang("b0", created_s=0), "b", 5), (gang("a0", created_s=1), "a", 1), (gang("c0", created_s=2), "c", 4)]
    gangs += [(gang("a1", created_s=3), "a", 20)]
    backlog = _backlog(views, gangs, 8)
    assert _names(backlog)[:3] == ["c0", "a0", "b0"]


def test_important_queues_come_first_beyond_quotas_only() -> None:
    views = [queue("a", 1, priority=0), queue("b", 1, priority=5), queue("c", 0, priority=9)]
    gangs = [(gang(f"{name}{i}", created_s=i), name, 1) for name in "abc" for i in range(3)]
    assert _names(_backlog(views, gangs, 9)) == ["a0", "b0", "c0", "c1", "c2", "b1", "b2", "a1", "a2"]


def test_queues_are_compared_level_by_level() -> None:
    """Departments take turns, though one has three teams that wait and the other one."""
    views = [queue("x"), queue("y"), *(queue(f"x{i}", parent="x") for i in range(3)), queue("y0", parent="y")]
    gangs = [(gang(f"{team}-{i}", created_s=i), team, 1) for team in ("x0", "x1", "x2", "y0") for i in range(2)]
    names = _names(_backlog(views, gangs, 4))
    assert [name[0] for name in names[:4]] == ["x", "y", "x", "y"]
    assert {name[:2] for name in names[:4] if name[0] == "x"} == {"x0", "x1"}


def test_the_dominant_resource_counts() -> None:
    tree = QueueTree([QueueView("cpus"), QueueView("gpus")])
    holdings = Holdings(tree)
    backlog = Backlog(tree, holdings, fair_shares(tree, {}, {}), 0.0, _NEVER)
    for i in range(3):
        backlog.add(gang(f"c{i}", created_s=i), "cpus", {"cpu": 3000, GPU: 1})
        backlog.add(gang(f"g{i}", created_s=i), "gpus", {"cpu": 1000, GPU: 4})
    capacity = {"cpu": 9000, GPU: 18}
    requested = {"cpus": {"cpu": 18000, GPU: 36}, "gpus": {"cpu": 18000, GPU: 36}}
    backlog.renew(fair_shares(tree, capacity, requested), 0.0)
    # cpus takes 2/3 of its cpu with each gang, gpus 4/9 of its GPUs: the cpu queue's turns are rarer.
    assert _names(backlog) == ["c0", "g0", "g1", "c1", "g2", "c2"]


def test_what_does_not_fit_is_passed_over_and_comes_again() -> None:
    backlog = _backlog([], [(gang("big", priority=1), "default", 99), (gang("small"), "default", 1)])
    assert _names(backlog, is_placed=False) == ["big", "small"]
    assert backlog.next() is None
    backlog.renew(fair_shares(QueueTree(), {GPU: 16}, backlog.requested()), 1.0)
    assert _names(backlog, is_placed=False) == ["big", "small"]


def test_first_in_first_out_where_the_policy_is_strict() -> None:
    gangs = [(gang("big", priority=1), "a", 9), (gang("small"), "a", 1), (gang("other", created_s=1), "b", 9)]
    backlog = _backlog([queue("a"), queue("b")], gangs, policy=OrderPolicy(None, is_strict=True))
    assert _names(backlog, is_placed=False) == ["big", "other"]
    assert backlog.reason("ns/small") == "it waits behind ns/big, which goes first in queue a"
    assert backlog.reason("ns/big") == backlog.reason("ns/other") == backlog.reason("unknown") == ""
    backlog.remove("ns/big")
    assert _names(backlog, is_placed=False) == ["small"]


def test_a_gang_that_room_would_not_help_blocks_nothing() -> None:
    gangs = [(gang("wrong", priority=1), "a", 2), (gang("small"), "a", 1)]
    backlog = _backlog([queue("a")], gangs, policy=OrderPolicy(0.0, is_strict=True))
    first = backlog.next()
    assert first is not None and first.gang.name == "wrong"
    backlog.refused(first.key, can_wait=False)
    assert not backlog.holds
    assert _names(backlog) == ["small"]


_HOLD = OrderPolicy(hold_after_s=60.0)


def _with_a_large_gang(quota: int = 8, free: int = 6) -> tuple[Backlog, Holdings, QueueTree]:
    """16 devices; `a` wants 8 at once and 1 behind; `b` holds what is not free and wants more; `c` has a quota of 2."""
    views = [queue("a", quota), queue("b"), queue("c", 2)]
    tree = QueueTree(views)
    holdings = Holdings(tree, [running("b-old", "b", 16 - free)])
    gangs = [(gang("big"), "a", 8), (gang("small", created_s=1), "a", 1)]
    gangs += [(gang(f"b{i}", created_s=2), "b", 1) for i in range(3)] + [(gang("c0", created_s=3), "c", 2)]
    return _backlog(views, gangs, policy=_HOLD, holdings=holdings), holdings, tree


def _renew(backlog: Backlog, tree: QueueTree, now_s: float, gpus: int = 16) -> None:
    backlog.renew(fair_shares(tree, {GPU: gpus}, backlog.requested()), now_s)


def _refuse_big(backlog: Backlog) -> list[str]:
    """Who is placed in a round in which the large gang does not fit."""
    found = []
    while (waiting := backlog.next()) is not None:
        if waiting.gang.name == "big":
            backlog.refused(waiting.key)
        else:
            found.append(waiting.gang.name)
            backlog.placed(waiting.key)
    return found


def test_a_gang_that_waited_long_holds_what_others_would_take() -> None:
    backlog, _, tree = _with_a_large_gang()
    assert set(_names(backlog, is_placed=False)) == {"big", "small", "b0", "b1", "b2", "c0"}
    _renew(backlog, tree, 59.0)
    assert "small" in _names(backlog, is_placed=False) and not backlog.holds
    _renew(backlog, tree, 60.0)
    assert _refuse_big(backlog) == ["c0"], "quotas are not held back"
    assert backlog.holds["a"].key == "ns/big"
    for held_back in ("ns/b0", "ns/small"):
        assert backlog.reason(held_back) == (
            "8 nvidia.com/gpu are kept for gangs that have waited long, such as ns/big of queue a, "
            "and there is not enough for this one beside them"
        )


def test_a_more_important_gang_is_not_behind_the_hold_of_its_queue() -> None:
    backlog, _, tree = _with_a_large_gang()
    _names(backlog, is_placed=False)
    _renew(backlog, tree, 60.0)
    backlog.add(gang("vip", priority=1), "a", {GPU: 1})
    assert _refuse_big(backlog) == ["vip", "c0"]


def test_a_hold_ends_with_the_gang_that_holds() -> None:
    backlog, holdings, tree = _with_a_large_gang()
    _names(backlog, is_placed=False)
    _renew(backlog, tree, 100.0)
    _refuse_big(backlog)
    holdings.drop("b-old")
    backlog.touch("b")
    _renew(backlog, tree, 101.0)
    assert backlog.holds, "it stays from round to round"
    assert _names(backlog) == ["big", "b0", "b1", "b2", "small"]
    assert not backlog.holds and len(backlog) == 0


def test_others_take_what_is_left_beside_a_hold() -> None:
    """11 are free and 8 kept: there is room for 3 more. b holds its fair share, and what it would borrow comes last."""
    backlog, _, tree = _with_a_large_gang(free=11)
    shares = fair_shares(tree, {GPU: 16}, {"a": {GPU: 9}, "b": {GPU: 5}, "c": {GPU: 2}})
    backlog.refused("ns/big")
    backlog.renew(shares, 60.0)
    assert _refuse_big(backlog) == ["small", "c0"], "the small one of a is behind, but there is room for both"


def test_a_gang_beyond_its_queues_share_holds_in_its_own_queue_only() -> None:
    backlog, _, tree = _with_a_large_gang(quota=0)
    _names(backlog, is_placed=False)
    backlog.remove("ns/c0")
    # Of 12 devices, 6 are each queue's: 8 are too many for a, and b borrows.
    backlog.renew(fair_shares(tree, {GPU: 12}, {"a": {GPU: 9}, "b": {GPU: 13}}), 100.0)
    assert sorted(_refuse_big(backlog)) == ["b0", "b1", "b2"]
    assert set(backlog.holds) == {"a"}


def test_room_under_a_shared_limit_is_kept() -> None:
    """The cluster is large, but `o` may have 8: while 4 of them are in use, the gang that wants 6 keeps the rest."""
    views = [queue("o", limit=8), queue("a", 8, parent="o"), queue("b", parent="o"), queue("c")]
    tree = QueueTree(views)
    holdings = Holdings(tree, [running("old", "b", 4)])
    gangs = [(gang("big"), "a", 6), (gang("small", created_s=1), "a", 1)]
    gangs += [(gang("b0", created_s=2), "b", 1), (gang("c0", created_s=3), "c", 1)]
    backlog = _backlog(views, gangs, 100, _HOLD, holdings)
    _names(backlog, is_placed=False)
    _renew(backlog, tree, 60.0, 100)
    assert _refuse_big(backlog) == ["c0"]
    assert "6 nvidia.com/gpu are kept" in backlog.reason("ns/b0")


@pytest.mark.parametrize("views", [[queue("a")], [queue("a", limit=16)]])
def test_a_gang_that_can_never_fit_holds_nothing(views: list[QueueView]) -> None:
    backlog = _backlog(views, [(gang("big"), "a", 17), (gang("small", created_s=1), "a", 1)], 16, OrderPolicy(0.0))
    assert _refuse_big(backlog) == ["small"]
    assert not backlog.holds


def test_a_hold_ends_when_the_cluster_becomes_too_small() -> None:
    backlog = _backlog([], [(gang("big"), "default", 16), (gang("small", created_s=1), "default", 1)], 16, _HOLD)
    backlog.refused("ns/big")
    _renew(backlog, QueueTree(), 60.0)
    assert _refuse_big(backlog) == []
    _renew(backlog, QueueTree(), 61.0, gpus=15)
    assert _refuse_big(backlog) == ["small"]


def test_a_gang_that_is_seen_anew_has_not_begun_to_wait_anew() -> None:
    backlog = _backlog([], [(gang("big"), "default", 16), (gang("small", created_s=1), "default", 1)], 16, _HOLD)
    backlog.refused("ns/big")
    backlog.add(gang("big"), "default", {GPU: 15})
    _renew(backlog, QueueTree(), 60.0)
    assert _refuse_big(backlog) == ["small"], "15 and 1 fit both"
    assert [held.demand for held in backlog.holds.values()] == [{GPU: 15}]


def test_a_clock_that_goes_back_starts_the_wait_anew() -> None:
    backlog, _, tree = _with_a_large_gang(8)
    _renew(backlog, tree, 1000.0)
    _names(backlog, is_placed=False)
    for now_s, is_held in ((10.0, False), (69.0, False), (70.0, True)):
        _renew(backlog, tree, now_s)
        _names(backlog, is_placed=False)
        assert bool(backlog.holds) == is_held


def test_placing_counts_beside_what_the_gang_held_before() -> None:
    tree = QueueTree()
    holdings = Holdings(tree, [running("ns/x", "default", 2, started_s=5.0)])
    backlog = _backlog([], [(gang("x"), "default", 4)], holdings=holdings)
    assert backlog.requested()["default"] == {GPU: 6}
    assert backlog.pending("default") == 1 and backlog.wanted("default") == {GPU: 4}
    backlog.placed("ns/x", {GPU: 3})
    placed = holdings.get("ns/x")
    assert placed is not None and placed.demand == {GPU: 5} and placed.started_s == 5.0
    assert backlog.pending("default") == 0
    with pytest.raises(KeyError):
        backlog.placed("ns/x")


def test_gangs_wait_in_leaves_only() -> None:
    backlog = _backlog([queue("o"), queue("a", parent="o")], [])
    for where in ("o", "", "unknown"):
        with pytest.raises(ValueError, match="not a leaf"):
            backlog.add(gang("x"), where, {GPU: 1})


def test_demand_of_a_gang_is_that_of_its_waiting_pods() -> None:
    shape = Shape("ns", {"cpu": 500, "pods": 1}, devices={GPU: 2})
    pods = tuple(PodView("ns", f"p{i}", f"u{i}", shape) for i in range(3))
    found = Gang("ns", "g", Group("g", pods[:1], (Group("workers", pods[1:2]),), bound=pods[2:]))
    assert demand_of(found) == {"cpu": 1000, "pods": 2, GPU: 4}


class _Reference:
    """The documented order, computed anew each time."""

    def __init__(self, tree: QueueTree, holdings: Holdings) -> None:
        self.tree, self.holdings = tree, holdings

    def next(self, shares: Shares, waiting: Mapping[str, Waiting], passed: set[str]) -> str | None:
        best = self._best(ROOT, shares, [one for key, one in waiting.items() if key not in passed])
        return best.key if best is not None else None

    def _best(self, name: str, shares: Shares, waiting: list[Waiting]) -> Waiting | None:
        children = self.tree.nodes[name].children
        if not children:
            mine = [one for one in waiting if one.queue == name]
            return min(mine, key=lambda one: (-one.gang.priority, one.gang.created_s, one.key), default=None)
        heads = [(child, self._best(child, shares, waiting)) for child in children]
        found = [(self._key(child, head, shares), head) for child, head in heads if head is not None]
        return min(found, key=lambda pair: pair[0])[1] if found else None

    def _key(self, name: str, head: Waiting, shares: Shares) -> tuple[object, ...]:
        held, fair, quotas = self.holdings.of(name), shares.of(name), self.tree.quotas[name]
        wants = {resource: amount for resource, amount in head.demand.items() if amount}
        governed = wants.keys() & self.tree.governed
        over_quota = {r for r in governed if held.get(r, 0) + wants[r] > quotas.get(r, 0)}
        over_share = {r for r in wants if held.get(r, 0) + wants[r] > fair.get(r, 0)}
        if over_share & (over_quota | (wants.keys() - governed)):
            band = 2
        else:
            band = 0 if governed and not over_quota else 1
        parts = [0.0]
        for resource, total in shares.capacity.items():
            if total > 0 and held.get(resource, 0) > 0:
                share = fair.get(resource, 0)
                parts.append(held[resource] / share if share else 1e12 * held[resource] / total)
        priority = self.tree.nodes[name].view.priority if band else 0
        return band, -priority, max(parts), head.gang.created_s, name


@st.composite
def _trees(draw: st.DrawFn) -> QueueTree:
    views: list[QueueView] = []
    for i in range(draw(st.integers(1, 6))):
        entitlements = {
            name: Entitlement(draw(st.one_of(st.none(), st.integers(0, 5))), draw(st.sampled_from([0.0, 1.0, 2.0])))
            for name in draw(st.sampled_from([(), ("x",), ("x", "y")]))
        }
        parent = draw(st.sampled_from([ROOT, *(view.name for view in views)]))
        views.append(QueueView(f"q{i}", parent, draw(st.integers(0, 1)), entitlements))
    return QueueTree(views)


_ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "next", "next", "next", "remove", "end", "renew"]),
        st.integers(0, 9),
        st.integers(0, 5),
        st.integers(0, 4),
        st.integers(0, 4),
        st.integers(0, 2),
    ),
    max_size=60,
)


@settings(max_examples=120, deadline=None)
@given(_trees(), _ACTIONS, st.integers(0, 20), st.integers(0, 20))
def test_order_agrees_with_the_reference(
    tree: QueueTree, actions: list[tuple[str, int, int, int, int, int]], x: int, y: int
) -> None:
    capacity = {"x": x, "y": y}
    holdings = Holdings(tree)
    shares = fair_shares(tree, capacity, {})
    backlog = Backlog(tree, holdings, shares, 0.0, _NEVER)
    reference = _Reference(tree, holdings)
    leaves = [name for name, node in tree.nodes.items() if name and not node.children]
    waiting: dict[str, Waiting] = {}
    passed: set[str] = set()
    for do, which, where, wants_x, wants_y, priority in actions:
        name = f"g{which}"
        if do == "add":
            one = Gang("ns", name, Group(name), priority=priority, created_s=float(which % 3))
            waiting[one.key] = Waiting(one, leaves[where % len(leaves)], {"x": wants_x, "y": wants_y})
            backlog.add(one, waiting[one.key].queue, waiting[one.key].demand)
            passed.discard(one.key)
        elif do == "next":
            expected = reference.next(shares, waiting, passed)
            found = backlog.next()
            assert (found.key if found is not None else None) == expected
            if expected is not None and priority:
                backlog.placed(expected)
                del waiting[expected]
            elif expected is not None:
                backlog.refused(expected)
                passed.add(expected)
        elif do == "remove":
            backlog.remove(f"ns/{name}")
            waiting.pop(f"ns/{name}", None)
        elif do == "end":
            gone = holdings.drop(f"ns/{name}")
            if gone is not None:
                backlog.touch(gone.queue)
        else:
            requested = backlog.requested()
            shares = fair_shares(tree, capacity, requested)
            backlog.renew(shares, 0.0)
            passed.clear()
        assert len(backlog) == len(waiting)
        assert {one.key for one in backlog} == set(waiting)


@settings(max_examples=50, deadline=None)
@given(_trees(), _ACTIONS, st.integers(0, 20), st.sampled_from([0.0, 2.0]), st.booleans())
def test_every_gang_is_offered_once_or_has_a_reason(
    tree: QueueTree, actions: list[tuple[str, int, int, int, int, int]], x: int, hold_after_s: float, is_strict: bool
) -> None:
    """Whatever is refused and held: a round ends, and who had no turn is told why."""
    capacity = {"x": x, "y": 9}
    backlog = Backlog(tree, Holdings(tree), fair_shares(tree, capacity, {}), 0.0, OrderPolicy(hold_after_s, is_strict))
    leaves = [name for name, node in tree.nodes.items() if name and not node.children]
    for round_, start in enumerate(range(0, len(actions), 15)):
        for _, which, where, wants_x, wants_y, priority in actions[start : start + 15]:
            one = Gang("ns", f"g{which}-{round_}", Group(""), priority=priority, created_s=float(which))
            backlog.add(one, leaves[where % len(leaves)], {"x": wants_x, "y": wants_y})
        backlog.renew(fair_shares(tree, capacity, backlog.requested()), float(round_))
        offered: list[str] = []
        while (waiting := backlog.next()) is not None:
            offered.append(waiting.key)
            if len(offered) % 3 == 0:
                backlog.placed(waiting.key)
            else:
                backlog.refused(waiting.key, can_wait=len(offered) % 5 > 0)
        assert len(set(offered)) == len(offered)
        for one_waiting in backlog:
            assert (one_waiting.key in offered) != bool(backlog.reason(one_waiting.key))
