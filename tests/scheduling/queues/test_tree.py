"""The tree of queues: membership, inheritance, and queues that cannot be used."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.scheduling.queues.tree import DEFAULT_QUEUE, ROOT, Entitlement, QueueTree, QueueView
from scheduling.queues.queue_objects import GPU, queue


def test_default_queue_is_there_without_definition() -> None:
    tree = QueueTree()
    assert tree.belongs("", "anywhere").queue == DEFAULT_QUEUE
    node = tree.nodes[DEFAULT_QUEUE]
    assert node.path == (DEFAULT_QUEUE,)
    assert node.view.entitlement(GPU) == Entitlement(None, 1.0, None)
    assert tree.quotas[DEFAULT_QUEUE] == {}


def test_default_queue_can_be_defined() -> None:
    tree = QueueTree([queue("default", 5, parent="org"), queue("org")])
    assert tree.belongs("").queue == "default"
    assert tree.quotas["default"] == {GPU: 5}
    assert tree.nodes["default"].path == ("default", "org")


def test_unknown_queue_is_the_default_one_and_told() -> None:
    found = QueueTree([queue("a")]).belongs("b", "ns")
    assert (found.queue, found.waits_for) == (DEFAULT_QUEUE, "")
    assert "there is no queue b" in found.note and "default" in found.note


def test_inner_queue_takes_no_gangs() -> None:
    found = QueueTree([queue("org"), queue("team", parent="org")]).belongs("org")
    assert "name one of them (team)" in found.waits_for


def test_namespaces_may_use_their_queue_and_belong_to_it() -> None:
    tree = QueueTree([queue("a", namespaces=("x",)), queue("b", namespaces=("y", "z")), queue("c", namespaces=("z",))])
    assert tree.belongs("", "x").queue == "a"
    assert tree.belongs("a", "x").waits_for == ""
    assert "it is for x" in tree.belongs("a", "y").waits_for
    undecided = tree.belongs("", "z")
    assert undecided.queue == DEFAULT_QUEUE and "b, c" in undecided.note


def test_a_gang_without_a_queue_waits_where_the_default_one_is_broken() -> None:
    found = QueueTree([queue("default", parent="gone")]).belongs("", "ns")
    assert "names the parent gone" in found.waits_for
    assert "names the parent gone" in QueueTree([queue("default", parent="gone")]).belongs("unknown").waits_for


@pytest.mark.parametrize(
    ("views", "name", "sentence"),
    [
        ([queue("a", parent="b")], "a", "it names the parent b, which is not there; create it or change spec.parent"),
        ([queue("a", parent="b"), queue("b", parent="c")], "a", "queue b above it names the parent c"),
        ([queue("a", parent="a")], "a", "in a circle (a -> a)"),
        ([queue("a", parent="b"), queue("b", parent="a")], "b", "in a circle (b -> a -> b)"),
        ([queue("z", parent="a"), queue("a", parent="b"), queue("b", parent="a")], "z", "in a circle (a -> b -> a)"),
        ([queue("a"), queue("a")], "a", "two queues of the name a"),
        ([queue("a"), queue("a"), queue("b", parent="a")], "b", "queue a above it cannot be used: there are two"),
        ([queue("a", -1)], "a", "spec.resources[nvidia.com/gpu].quota is -1"),
        ([queue("a", limit=-1)], "a", "limit is -1"),
        ([queue("a", weight=-0.5)], "a", "overQuotaWeight is -0.5"),
        ([queue("a", weight=float("nan"))], "a", "overQuotaWeight is nan"),
        ([queue("a", weight=float("inf"))], "a", "overQuotaWeight is inf"),
        ([queue("a", half_life_s=-1.0)], "a", "usageHalfLifeSeconds is -1"),
        ([queue("a", reclaim_min_runtime_s=float("inf"))], "a", "reclaimMinRuntimeSeconds is inf"),
        ([queue("")], "", "it has no name"),
    ],
)
def test_broken_queues_say_what_to_change(views: list[QueueView], name: str, sentence: str) -> None:
    tree = QueueTree([*views, queue("good")])
    assert sentence in tree.errors[name].sentence
    reason = "Cycle" if "circle" in sentence else "ParentMissing" if "names the parent" in sentence else "Invalid"
    assert tree.errors[name].reason == reason
    assert "good" in tree
    if name:
        assert name not in tree
        assert sentence in tree.belongs(name).waits_for


def test_quota_of_a_parent_that_states_none_is_its_childrens() -> None:
    tree = QueueTree([QueueView("org"), queue("a", 3, parent="org"), queue("b", 4, parent="org"), queue("c", 0)])
    assert tree.quotas["org"] == {GPU: 7}
    assert tree.quotas["c"] == {}
    stated = QueueTree([queue("org", 5), queue("a", 3, parent="org"), queue("b", 4, parent="org")])
    assert stated.quotas["org"] == {GPU: 5}
    assert stated.governed == {GPU}


def test_min_runtimes_come_from_the_nearest_queue_that_states_one() -> None:
    tree = QueueTree(
        [
            queue("org", reclaim_min_runtime_s=60, preempt_min_runtime_s=30),
            queue("a", parent="org", reclaim_min_runtime_s=0),
            queue("b", parent="org"),
        ]
    )
    assert [tree.reclaim_min_runtime_s(name) for name in ("org", "a", "b", "default")] == [60, 0, 60, 0]
    assert [tree.preempt_min_runtime_s(name) for name in ("org", "a", "b", "default")] == [30, 30, 30, 0]


def test_paths_part_below_the_shared_queue() -> None:
    tree = QueueTree([queue("o"), queue("d", parent="o"), queue("a", parent="d"), queue("b", parent="o"), queue("e")])
    assert tree.parting("a", "b") == (("a", "d"), ("b",))
    assert tree.parting("a", "e") == (("a", "d", "o"), ("e",))
    assert tree.parting("a", "d") == (("a",), ())


def test_a_very_deep_tree() -> None:
    views = [queue(f"q{i}", 1 if i == 799 else None, parent=f"q{i - 1}" if i else ROOT) for i in range(800)]
    tree = QueueTree(views)
    assert len(tree.nodes["q799"].path) == 800
    assert tree.quotas["q0"] == {GPU: 1}
    assert not tree.errors


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["", *"abcdef"])), max_size=6), st.randoms())
def test_any_set_of_queues_in_any_order(pairs: list[tuple[str, str]], random: object) -> None:
    """Every queue is either usable with all queues above it, or has an error; the order of queues does not matter."""
    views = [queue(name, parent=parent) for name, parent in pairs]
    tree = QueueTree(views)
    names = {name for name, _ in pairs}
    assert names <= set(tree.nodes) | set(tree.errors)
    assert not set(tree.nodes) & set(tree.errors)
    for name, node in tree.nodes.items():
        assert all(above in tree for above in node.path)
        assert all(name == tree.nodes[child].view.parent for child in node.children)
        assert tree.nodes[name].path == (() if name == ROOT else (name, *tree.nodes[node.view.parent].path))
    for shuffled in itertools.islice(itertools.permutations(views), 6):
        other = QueueTree(shuffled)
        assert list(other.nodes) == list(tree.nodes)
        if len(names) == len(views):
            assert other.errors == tree.errors
