"""Fair shares: what they promise, and a plain reference that fills all vessels drop by drop."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fairlead.scheduling.queues.shares import fair_shares, pour
from fairlead.scheduling.queues.tree import ROOT, Entitlement, QueueTree, QueueView
from scheduling.queues.queue_objects import GPU, gpu_shares, queue

_VESSELS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), max_size=6)


def drop_by_drop(amount: int, weights: Sequence[int], caps: Sequence[int], drops: int = 500) -> list[Fraction]:
    """Progressive filling in small steps: each drop goes to all that are not full, in proportion to their weights."""
    parts = [Fraction(0)] * len(caps)
    drop = Fraction(amount, drops) if amount else Fraction(0)
    left = Fraction(amount)
    while left > 0:
        rising = [i for i, weight in enumerate(weights) if weight and parts[i] < caps[i]]
        if not rising:
            break
        total = sum(weights[i] for i in rising)
        now = min(drop, left)
        given_out = Fraction(0)
        for i in rising:
            more = min(now * weights[i] / total, caps[i] - parts[i])
            parts[i] += more
            given_out += more
        left -= given_out
    return parts


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), _VESSELS)
def test_pour_agrees_with_progressive_filling(amount: int, vessels: list[tuple[int, int]]) -> None:
    weights, caps = [w for w, _ in vessels], [c for _, c in vessels]
    parts = pour(amount, weights, caps)
    assert all(0 <= part <= cap for part, cap in zip(parts, caps, strict=True))
    assert sum(parts) == min(amount, sum(cap for weight, cap in vessels if weight))
    # A drop that fills a vessel spills less than a drop; at most one for each vessel.
    slack = Fraction(amount * len(vessels), 500)
    for part, exact in zip(parts, drop_by_drop(amount, weights, caps), strict=True):
        assert abs(part - exact) < 1 + slack


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 60), _VESSELS, st.integers(0, 5), st.integers(1, 9))
def test_a_higher_weight_never_gets_less(amount: int, vessels: list[tuple[int, int]], which: int, more: int) -> None:
    assume(which < len(vessels))
    weights, caps = [w for w, _ in vessels], [c for _, c in vessels]
    before = pour(amount, weights, caps)[which]
    weights[which] += more
    assert pour(amount, weights, caps)[which] >= before


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 60), _VESSELS, st.integers(2, 10**9))
def test_pour_is_free_of_scale(amount: int, vessels: list[tuple[int, int]], scale: int) -> None:
    weights, caps = [w for w, _ in vessels], [c for _, c in vessels]
    parts = pour(amount, weights, caps)
    assert pour(amount, [weight * scale for weight in weights], caps) == parts
    large = pour(amount * scale, weights, [cap * scale for cap in caps])
    assert all(abs(big - small * scale) <= scale for big, small in zip(large, parts, strict=True))


def test_quota_first_then_priority_then_weight() -> None:
    """10 devices: quotas take 7; of the other 3 the important queue gets all it wants, the others nothing."""
    tree = QueueTree([queue("a", 3, 2.0, priority=2), queue("b", 3, 1.0, priority=2), queue("c", 1, 9.0, priority=1)])
    shares = gpu_shares(tree, 10, a=10, b=10, c=10)
    assert [shares.of(name)[GPU] for name in "abc"] == [5, 4, 1]
    modest = gpu_shares(tree, 10, a=3, b=4, c=10)
    assert [modest.of(name)[GPU] for name in "abc"] == [3, 4, 3]


def test_quotas_that_do_not_fit_are_honoured_in_proportion() -> None:
    tree = QueueTree([queue("a", 12), queue("b", 6), queue("c")])
    assert [gpu_shares(tree, 9, a=20, b=20, c=20).of(name).get(GPU, 0) for name in "abc"] == [6, 3, 0]


def test_the_parents_quota_binds_where_the_childrens_exceed_it() -> None:
    """The parent's 4 come to its children in the proportion of their quotas; the rest goes by weight."""
    tree = QueueTree([queue("o", 4, 0), queue("a", 6, parent="o"), queue("b", 2, parent="o"), queue("c", 0, 1)])
    shares = gpu_shares(tree, 10, a=10, b=10, c=10)
    assert {name: shares.of(name)[GPU] for name in "oabc"} == {"o": 4, "a": 3, "b": 1, "c": 6}


def test_what_a_queue_leaves_goes_to_its_siblings_first() -> None:
    tree = QueueTree([QueueView("o"), queue("a", 4, parent="o"), queue("b", 0, parent="o"), queue("c", 4)])
    shares = gpu_shares(tree, 8, a=1, b=9, c=9)
    assert {name: shares.of(name)[GPU] for name in "abc"} == {"a": 1, "b": 3, "c": 4}


def test_limits_bind_at_every_level() -> None:
    tree = QueueTree([queue("o", limit=5), queue("a", 4, parent="o", limit=2), queue("b", parent="o"), queue("c")])
    shares = gpu_shares(tree, 20, a=9, b=9, c=9)
    assert {name: shares.of(name)[GPU] for name in "oabc"} == {"o": 5, "a": 2, "b": 3, "c": 9}
    assert shares.requested["o"][GPU] == 5


def test_weight_zero_gets_its_quota_only() -> None:
    tree = QueueTree([queue("a", 2, 0.0), queue("b", 0, 1.0)])
    shares = gpu_shares(tree, 10, a=8, b=3)
    assert (shares.of("a")[GPU], shares.of("b")[GPU]) == (2, 3)


def test_the_smallest_weight_counts() -> None:
    tree = QueueTree([queue("a", 0, 1e-9)])
    assert gpu_shares(tree, 10, a=8).of("a")[GPU] == 8


def test_resources_are_divided_each_by_itself() -> None:
    tree = QueueTree([QueueView("a", resources={"cpu": Entitlement(1000)}), queue("b", 2)])
    capacity = {"cpu": 4001, "memory": 2**40, GPU: 3}
    wants = {"cpu": 10**6, "memory": 2**50, GPU: 10, "unknown": 5}
    shares = fair_shares(tree, capacity, {"a": wants, "b": wants})
    assert shares.of("a") == {"cpu": 2501, "memory": 2**39, GPU: 1}
    assert shares.of("b") == {"cpu": 1500, "memory": 2**39, GPU: 2}


def test_past_usage_lowers_the_weight() -> None:
    """w + k (w - u), all of it normalised: 0.5 + (0.5 - 0.3) = 0.7 against 0.5 + 0.5 = 1, so 7 : 10 of 17."""
    tree = QueueTree([queue("a"), queue("b")])
    requested = {"a": {GPU: 100}, "b": {GPU: 100}}
    used = {"a": {GPU: 0.3}}
    assert fair_shares(tree, {GPU: 17}, requested, used).of("a")[GPU] == 7
    assert fair_shares(tree, {GPU: 16}, requested, used, usage_strength=0.0).of("a")[GPU] == 8
    # k = 4: 0.5 + 4 * 0.2 = 1.3 against 2.5
    assert fair_shares(tree, {GPU: 38}, requested, used, usage_strength=4.0).of("a")[GPU] == 13


def test_past_usage_leaves_nothing_undivided_and_quotas_alone() -> None:
    tree = QueueTree([queue("a", 2), queue("b")])
    requested = {"a": {GPU: 9}, "b": {GPU: 3}}
    shares = fair_shares(tree, {GPU: 12}, requested, {"a": {GPU: 1.0}}, usage_strength=5.0)
    assert (shares.of("a")[GPU], shares.of("b")[GPU]) == (9, 3)
    scarce = fair_shares(tree, {GPU: 4}, requested, {"a": {GPU: 1.0}}, usage_strength=5.0)
    assert (scarce.of("a")[GPU], scarce.of("b")[GPU]) == (2, 2)
    exhausted = fair_shares(tree, {GPU: 4}, requested, {"a": {GPU: 1.0}, "b": {GPU: 1.0}}, usage_strength=5.0)
    assert (exhausted.of("a")[GPU], exhausted.of("b")[GPU]) == (3, 1)


@pytest.mark.parametrize("capacity", [0, -5])
def test_no_capacity_no_shares(capacity: int) -> None:
    assert fair_shares(QueueTree([queue("a", 3)]), {GPU: capacity}, {"a": {GPU: 4}}).of("a") == {}


@st.composite
def _forests(draw: st.DrawFn) -> tuple[list[QueueView], dict[str, dict[str, int]]]:
    views: list[QueueView] = []
    for i in range(draw(st.integers(1, 7))):
        parent = draw(st.sampled_from([ROOT, *(view.name for view in views)]))
        views.append(
            queue(
                f"q{i}",
                draw(st.one_of(st.none(), st.integers(0, 6))),
                draw(st.sampled_from([0.0, 0.5, 1.0, 3.0])),
                draw(st.one_of(st.none(), st.integers(0, 12))),
                parent=parent,
                priority=draw(st.integers(0, 1)),
            )
        )
    inner = {view.parent for view in views}
    requested = {view.name: {GPU: draw(st.integers(0, 12))} for view in views if view.name not in inner}
    return views, requested


@settings(max_examples=150, deadline=None)
@given(_forests(), st.integers(0, 40), st.booleans())
def test_shares_of_a_tree(
    forest: tuple[list[QueueView], dict[str, dict[str, int]]], capacity: int, is_aged: bool
) -> None:
    views, requested = forest
    tree = QueueTree(views)
    usage = {view.name: {GPU: 0.25 * (i % 4)} for i, view in enumerate(views)} if is_aged else None
    shares = fair_shares(tree, {GPU: capacity}, requested, usage)
    fair = {name: shares.of(name).get(GPU, 0) for name in tree.nodes}
    wants = {name: shares.requested[name].get(GPU, 0) for name in tree.nodes}
    assert fair[ROOT] == min(capacity, wants[ROOT])
    for name, node in tree.nodes.items():
        children = node.children
        assert 0 <= fair[name] <= wants[name]
        assert sum(fair[child] for child in children) <= fair[name] or not children
        quotas = {child: min(tree.quotas[child].get(GPU, 0), wants[child]) for child in children}
        if sum(quotas.values()) <= fair[name]:
            assert all(fair[child] >= quotas[child] for child in children)
        open_to = [child for child in children if tree.nodes[child].view.entitlement(GPU).weight_units]
        if children and sum(fair[child] for child in children) < fair[name]:
            assert all(fair[child] == wants[child] for child in open_to), "work conserving"
        for one in open_to:
            for other in open_to:
                if tree.nodes[one].view.priority > tree.nodes[other].view.priority and fair[one] < wants[one]:
                    assert fair[other] <= quotas[other]
    shuffled = fair_shares(QueueTree(views[::-1]), {GPU: capacity}, dict(reversed(requested.items())), usage)
    assert shuffled.fair == shares.fair


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 40), st.lists(st.tuples(st.integers(1, 8), st.integers(0, 20)), min_size=2, max_size=5))
def test_more_weight_in_a_queue_never_lowers_its_share(capacity: int, given_: list[tuple[int, int]]) -> None:
    def share(first_weight: float) -> int:
        weights = [first_weight, *(float(weight) for weight, _ in given_[1:])]
        tree = QueueTree([queue(f"q{i}", i, weight) for i, weight in enumerate(weights)])
        requested = {f"q{i}": {GPU: wants} for i, (_, wants) in enumerate(given_)}
        return fair_shares(tree, {GPU: capacity}, requested).of("q0").get(GPU, 0)

    found = [share(weight) for weight in (0.25, 1.0, 1.5, 4.0, 100.0)]
    assert found == sorted(found)
