"""What queues hold and used lately."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.scheduling.queues.tree import QueueTree, QueueView
from fairlead.scheduling.queues.usage import DecayedUsage, Holdings, Running
from scheduling.queues.queue_objects import GPU, queue, running

_TREE = QueueTree([queue("org"), queue("a", parent="org"), queue("b", parent="org"), queue("c")])


def test_holdings_count_up_the_tree() -> None:
    holdings = Holdings(_TREE, [running("x", "a", 2), running("y", "b", 3, is_preemptible=False), running("z", "c", 4)])
    assert [holdings.of(name)[GPU] for name in ("a", "b", "org", "c", "")] == [2, 3, 5, 4, 9]
    assert [holdings.fixed(name).get(GPU, 0) for name in ("a", "b", "org", "")] == [0, 3, 3, 3]
    holdings.put(running("x", "c", 1))
    assert [holdings.of(name)[GPU] for name in ("a", "org", "c", "")] == [0, 3, 5, 8]
    assert holdings.drop("x") == running("x", "c", 1)
    assert holdings.drop("x") is None
    assert "x" not in holdings and holdings.get("y") is not None


def test_gangs_of_unknown_queues_count_for_the_cluster() -> None:
    holdings = Holdings(_TREE, [running("x", "gone", 2)])
    assert holdings.of("")[GPU] == 2 and holdings.of("gone")[GPU] == 2
    holdings.drop("x")
    assert holdings.of("")[GPU] == 0 and holdings.of("gone")[GPU] == 0


def test_the_first_gangs_hold_what_is_the_queues_own() -> None:
    gangs = [
        running("fixed", "a", 1, created_s=9, is_preemptible=False),
        running("old", "a", 2, created_s=1),
        running("large", "a", 4, created_s=2),
        running("young", "a", 1, created_s=3),
        running("important", "a", 1, priority=5, created_s=8),
    ]
    holdings = Holdings(_TREE, gangs)
    own = {gang.key for gang in gangs if holdings.is_own(gang, {GPU: 5})}
    assert own == {"fixed", "important", "old", "young"}
    assert [gang.key for gang in holdings.gangs("a")] == ["young", "large", "old", "important", "fixed"]
    assert not holdings.is_own(running("stranger", "a", 0), {GPU: 5})


def test_gangs_may_leave_while_they_are_read() -> None:
    holdings = Holdings(_TREE, [running(f"g{i}", "a", 1, created_s=i) for i in range(6)])
    seen = []
    for gang in holdings.gangs("a"):
        seen.append(gang.key)
        holdings.drop(gang.key)
        if gang.key == "g4":
            holdings.drop("g0")
    assert seen == ["g5", "g4", "g3", "g2", "g1"]
    assert list(holdings.gangs("nobody")) == []


_CHANGES = st.lists(
    st.tuples(
        st.sampled_from("pqrstu"),
        st.sampled_from("abc"),
        st.integers(0, 4),
        st.integers(0, 2),
        st.booleans(),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(_CHANGES, st.integers(0, 8))
def test_holdings_after_any_changes_are_those_of_the_gangs_there(
    changes: list[tuple[str, str, int, int, bool, bool]], fair: int
) -> None:
    """Kept sums, and the remembered own gangs, equal those of holdings that are built anew."""
    share = {GPU: fair}
    holdings = Holdings(_TREE)
    for key, where, gpus, priority, is_preemptible, is_put in changes:
        if is_put:
            holdings.put(running(key, where, gpus, priority=priority, is_preemptible=is_preemptible))
        else:
            holdings.drop(key)
        fresh = Holdings(_TREE, list(holdings))
        for name in _TREE.nodes:
            assert holdings.of(name).get(GPU, 0) == fresh.of(name).get(GPU, 0)
            assert holdings.fixed(name).get(GPU, 0) == fresh.fixed(name).get(GPU, 0)
        for gang in holdings:
            assert holdings.is_own(gang, share) == fresh.is_own(gang, share)


def _usage(half_life_s: float = 100.0) -> tuple[QueueTree, Holdings, DecayedUsage]:
    tree = QueueTree([QueueView("a", half_life_s=half_life_s), QueueView("b")])
    return tree, Holdings(tree, [Running("x", "a", {GPU: 5}), Running("y", "b", {GPU: 5})]), DecayedUsage(1000.0)


def test_usage_approaches_what_is_held_and_halves_afterwards() -> None:
    tree, holdings, usage = _usage()
    usage.advance(tree, holdings, {GPU: 10}, 1100.0)
    assert usage.values == {"a": {GPU: pytest.approx(0.25)}}
    for i in range(20):
        usage.advance(tree, holdings, {GPU: 10}, 1200.0 + 100 * i)
    assert usage.values["a"][GPU] == pytest.approx(0.5, abs=1e-5)
    holdings.drop("x")
    before = usage.values["a"][GPU]
    usage.advance(tree, holdings, {GPU: 10}, 3200.0)
    assert usage.values["a"][GPU] == pytest.approx(before / 2)


def test_the_length_of_steps_does_not_matter() -> None:
    tree, holdings, coarse = _usage()
    coarse.advance(tree, holdings, {GPU: 10}, 1200.0)
    _, _, fine = _usage()
    for i in range(1, 101):
        fine.advance(tree, holdings, {GPU: 10}, 1000.0 + 2 * i)
    assert fine.values["a"][GPU] == pytest.approx(coarse.values["a"][GPU])


def test_clock_jumps() -> None:
    tree, holdings, usage = _usage()
    usage.advance(tree, holdings, {GPU: 10}, 1100.0)
    usage.advance(tree, holdings, {GPU: 10}, 100.0)
    assert usage.values["a"][GPU] == pytest.approx(0.25)
    holdings.drop("x")
    usage.advance(tree, holdings, {GPU: 10}, 1e12)
    assert usage.values["a"][GPU] == pytest.approx(0.25 / 8), "a leap counts as max_step_s: three half lives"


def test_usage_is_restored_and_checked() -> None:
    tree, _, usage = _usage()
    usage.restore({"a": {GPU: 0.8}, "gone": {GPU: 0.1}})
    usage.advance(tree, Holdings(tree), {GPU: 10}, 1100.0)
    assert usage.values == {"a": {GPU: pytest.approx(0.4)}}
    for wrong in (float("nan"), -0.1, 1.5, float("inf")):
        with pytest.raises(ValueError, match=r"usage of nvidia\.com/gpu by queue a is .* between 0 and 1"):
            usage.restore({"a": {GPU: wrong}})


def test_capacity_that_shrinks_or_vanishes() -> None:
    tree, holdings, usage = _usage()
    usage.advance(tree, holdings, {GPU: 2}, 1100.0)
    assert usage.values["a"][GPU] == pytest.approx(0.5), "no queue used more than all"
    usage.advance(tree, holdings, {}, 1200.0)
    assert usage.values["a"][GPU] == pytest.approx(0.25)
