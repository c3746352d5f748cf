"""Garbage collection against a direct reading of its rules, on random ownership graphs."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.controllers.garbage import (
    FOREGROUND,
    ORPHAN,
    Graph,
    Node,
    Reference,
    Verdict,
    compute_verdict,
)

CONFIG_MAPS = ("", "v1", "configmaps")


def node(uid: str, *owners: str, blocks: bool = False, **fields: object) -> Node:
    references = tuple(Reference("v1", "ConfigMap", o, o, blocks) for o in owners)
    return Node(uid, CONFIG_MAPS, "default", uid, references, **fields)  # type: ignore[arg-type]


def graph_of(*nodes: Node, absent: tuple[str, ...] = ()) -> Graph:
    graph = Graph()
    for n in nodes:
        graph.put(n)
    for uid in absent:
        graph.mark_absent(Reference("v1", "ConfigMap", uid, uid, False), "default")
    return graph


def collect(graph: Graph, existing: set[str]) -> None:
    """Carry verdicts out until nothing changes, as the controller and the API server would."""
    for _ in range(200):
        moved = False
        for uid in sorted(graph.nodes):
            verdict = compute_verdict(graph, uid)
            moved |= verdict != Verdict()
            _apply(graph, uid, verdict, existing)
        if not moved:
            return
    raise AssertionError("collection did not end")


def _apply(graph: Graph, uid: str, verdict: Verdict, existing: set[str]) -> None:
    for owner in verdict.check_owners:
        if owner.uid not in existing:
            graph.mark_absent(owner, "default")
    current = graph.nodes.get(uid)
    if current is None:
        return
    if verdict.remove_owners:
        kept = tuple(o for o in current.owners if o.uid not in verdict.remove_owners)
        current = replace(current, owners=kept)
    if verdict.remove_finalizer:
        current = replace(current, finalizers=tuple(f for f in current.finalizers if f != verdict.remove_finalizer))
    if verdict.delete:
        extra = {"Foreground": (FOREGROUND,), "Orphan": (ORPHAN,)}.get(verdict.delete, ())
        current = replace(current, deleting=True, finalizers=tuple(dict.fromkeys((*current.finalizers, *extra))))
    graph.put(current)
    if current.deleting and not current.finalizers:
        graph.remove(uid)
        existing.discard(uid)


def test_a_dependent_goes_only_when_every_owner_is_gone() -> None:
    graph = graph_of(node("a"), node("child", "a", "b"), absent=("b",))
    assert compute_verdict(graph, "child") == Verdict(remove_owners=("b",))
    graph.remove("a")
    assert compute_verdict(graph, "child") == Verdict(delete="Background")


def test_an_unknown_owner_is_looked_up_before_anything_is_deleted() -> None:
    graph = graph_of(node("child", "never-seen"))
    assert [o.uid for o in compute_verdict(graph, "child").check_owners] == ["never-seen"]


def test_foreground_waits_for_blocking_dependents_only() -> None:
    owner = node("own", deleting=True, finalizers=(FOREGROUND,))
    graph = graph_of(owner, node("blocking", "own", blocks=True), node("loose", "own"))
    assert compute_verdict(graph, "own") == Verdict()
    assert compute_verdict(graph, "blocking").delete == "Background"
    assert compute_verdict(graph, "loose").delete == "Background"
    graph.remove("blocking")
    assert compute_verdict(graph, "own") == Verdict(remove_finalizer=FOREGROUND)


def test_orphans_lose_their_reference_and_stay() -> None:
    graph = graph_of(node("own", deleting=True, finalizers=(ORPHAN,)), node("child", "own"))
    assert compute_verdict(graph, "own") == Verdict()
    assert compute_verdict(graph, "child") == Verdict(remove_owners=("own",))
    collect(graph, {"own", "child"})
    assert set(graph.nodes) == {"child"} and graph.nodes["child"].owners == ()


def test_an_owner_in_another_namespace_is_not_the_one_that_is_meant() -> None:
    graph = graph_of(replace(node("own"), namespace="elsewhere"), node("child", "own"))
    assert [o.uid for o in compute_verdict(graph, "child").check_owners] == ["own"]
    graph.mark_absent(Reference("v1", "ConfigMap", "own", "own", False), "default")
    assert compute_verdict(graph, "child").delete == "Background"
    # Cluster-scoped owners are found from everywhere.
    graph = graph_of(replace(node("own"), namespace=""), node("child", "own"))
    assert compute_verdict(graph, "child") == Verdict()


def test_a_kind_that_is_not_served_for_a_while_takes_nothing_with_it() -> None:
    graph = graph_of(node("own"), node("child", "own"))
    graph.forget("own")
    assert compute_verdict(graph, "child") == Verdict(check_owners=graph.nodes["child"].owners)
    graph.put(node("own"))
    assert compute_verdict(graph, "child") == Verdict()


def test_a_circle_in_the_foreground_is_broken() -> None:
    graph = graph_of(
        node("a", "b", blocks=True, deleting=True, finalizers=(FOREGROUND,)), node("b", "a", blocks=True)
    )  # fmt: skip
    assert compute_verdict(graph, "b") == Verdict(delete="Foreground", unblock=True)


def test_what_was_looked_for_in_vain_is_forgotten_with_its_last_dependent() -> None:
    graph = graph_of(node("child", "own"), absent=("own",))
    graph.remove("child")
    assert not graph.absent and not graph.dependents


uids = [f"n{i}" for i in range(7)]
ownership = st.lists(st.lists(st.integers(0, 6), max_size=2, unique=True), min_size=7, max_size=7)


@given(ownership, st.sets(st.integers(0, 6)), st.booleans())
def test_what_is_left_is_what_still_has_an_owner_or_never_had_one(
    owners: list[list[int]], deleted: set[int], foreground: bool
) -> None:
    # Only earlier objects can be owners, so the graph has no cycles.
    parents = {uids[i]: [uids[o] for o in owners[i] if o < i] for i in range(7)}
    graph = graph_of(*(node(u, *parents[u], blocks=True) for u in uids))
    existing = set(uids)
    for i in deleted:
        current = graph.nodes.get(uids[i])
        assert current is not None
        if foreground:
            graph.put(replace(current, deleting=True, finalizers=(FOREGROUND,)))
        else:
            graph.remove(uids[i])
            existing.discard(uids[i])
    collect(graph, existing)
    alive: set[str] = set()
    for i, uid in enumerate(uids):
        if i not in deleted and (not parents[uid] or any(p in alive for p in parents[uid])):
            alive.add(uid)
    assert set(graph.nodes) == alive
