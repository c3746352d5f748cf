"""The search against trying everything: a place is found where there is one, with the best wishes granted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, note, settings
from hypothesis import strategies as st

from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang, Group, Topology
from fairlead.scheduling.gangs.search import place_gang
from fairlead.scheduling.snapshot import NodeView, Shape
from fairlead.scheduling.verdict import Because, Placed
from scheduling.gangs.exhaustive import World, best_wishes, is_valid, wishes
from scheduling.gangs.gang_objects import (
    RACK,
    ZONE,
    add_claims,
    add_devices,
    claim_for,
    dump,
    exactly,
    first_of,
    is_model,
    node,
    outlook_of,
    pods_of,
    shape,
)

PLAIN = [shape(1), shape(2), shape(3)]
ONE = shape(1, own_claims=(claim_for(exactly()),))
ONE_A = shape(1, own_claims=(claim_for(exactly(selector=is_model("a"))),))
TWO = shape(1, own_claims=(claim_for(exactly(count=2)),))
TWO_OR_A = shape(1, own_claims=(claim_for(first_of(("two", 2, ""), ("a", 1, is_model("a")))),))
ASKED: dict[Shape, Any] = {
    ONE: [((1, ""),)], ONE_A: [((1, "a"),)], TWO: [((2, ""),)], TWO_OR_A: [((2, ""), (1, "a"))],
}  # fmt: skip


@dataclass
class Case:
    nodes: list[NodeView]
    models: dict[str, list[str]]
    gang: Gang


@st.composite
def fleets(draw: st.DrawFn, devices: bool) -> tuple[list[NodeView], dict[str, list[str]]]:
    nodes, models = [], {}
    is_nested = draw(st.booleans())
    for i in range(draw(st.integers(1, 4))):
        rack = draw(st.sampled_from("uvw"))
        zone = {"u": "1", "v": "1", "w": "2"}[rack] if is_nested else draw(st.sampled_from("12"))
        labels = {RACK: rack, ZONE: zone}
        if draw(st.integers(0, 9)) == 0:
            del labels[draw(st.sampled_from([RACK, ZONE]))]
        nodes.append(node(f"n{i}", cpu=draw(st.integers(0, 4)), labels=labels))
        if devices:
            models[f"n{i}"] = draw(st.lists(st.sampled_from("ab"), max_size=3))
    return nodes, models


levels = st.lists(st.sampled_from([RACK, ZONE, "kubernetes.io/hostname"]), max_size=2, unique=True).map(tuple)


@st.composite
def topologies(draw: st.DrawFn, sliced: bool) -> Topology:
    size = draw(st.integers(0, 2)) if sliced else 0
    return Topology(
        required=draw(st.one_of(st.just(()), levels)),
        preferred=draw(st.one_of(st.just(()), levels)),
        arrangement=draw(st.sampled_from(["pack", "spread"])),
        over=draw(st.sampled_from(["", RACK])),
        slice_size=size,
        slice_level=draw(st.sampled_from([RACK, ZONE])) if size else "",
    )


@st.composite
def groups(draw: st.DrawFn, kinds: list[Shape], names: list[str], most: int, depth: int, tag: str) -> Group:
    kind_count = draw(st.integers(1, 2))
    chosen = [draw(st.sampled_from(kinds)) for _ in range(kind_count)]
    count = draw(st.integers(0 if depth else 1, most))
    pods = [replace(pods_of(draw(st.sampled_from(chosen)), 1)[0], name=f"{tag}-{i}") for i in range(count)]
    bound = ()
    if pods and draw(st.integers(0, 5)) == 0:
        bound = (replace(pods.pop(draw(st.integers(0, len(pods) - 1))), node=draw(st.sampled_from(names))),)
    children = []
    if depth and count < most and draw(st.booleans()):
        left = most - count
        for k in range(draw(st.integers(1, min(2, left)))):
            children.append(draw(groups(kinds, names, max(1, left // 2), depth - 1, f"{tag}{k}")))
    everyone = len(pods) + len(bound) + sum(len(each.all_pods) + len(each.all_bound) for each in children)
    minimum = draw(st.one_of(st.just(everyone), st.integers(0, everyone)))
    minimum_groups = draw(st.one_of(st.none(), st.integers(0, len(children)))) if children else None
    topology = draw(topologies(sliced=bool(draw(st.integers(0, 2)) == 0)))
    return Group(tag, tuple(pods), tuple(children), minimum, minimum_groups, topology, bound)


@st.composite
def cases(draw: st.DrawFn, devices: bool, most: int, depth: int) -> Case:
    nodes, models = draw(fleets(devices))
    kinds = list(ASKED) if devices else PLAIN
    root = draw(groups(kinds, [n.name for n in nodes], most, depth, "g"))
    return Case(nodes, models, Gang("default", "gang", root, kind="PodGroup"))


def prepare(case: Case, mode: str = "best") -> Outlook:
    outlook = outlook_of(case.nodes, mode)
    for name, models in case.models.items():
        add_devices(outlook, name, [{"name": f"d{i}", "model": m} for i, m in enumerate(models)])
    add_claims(outlook, case.gang.pods)
    return outlook


def check(case: Case, mode: str = "best") -> None:
    outlook, gang = prepare(case, mode), case.gang
    asked = {pod.uid: ASKED.get(pod.shape, ()) for pod in gang.pods}
    world = World(case.nodes, case.models, asked)
    before = dump(outlook)
    best = best_wishes(world, gang)
    verdict = place_gang(outlook, gang)
    note(str(verdict)[:0])
    if not gang.pods:
        assert isinstance(verdict, Placed) and dump(outlook) == before
    elif best is None:
        assert not isinstance(verdict, Placed) and verdict.explanation.sentence
        assert verdict.explanation.because is not Because.BUDGET
        assert dump(outlook) == before
    else:
        assert isinstance(verdict, Placed)
        places = {each.pod.uid: each.node for each in verdict.assignments}
        assert places and is_valid(world, gang.root, places)
        assert {uid: outlook.fleet.row_of[name] for uid, name in places.items()} == {
            uid: standing.row for uid, standing in outlook.fleet.pods.items()
        }
        assert wishes(world, gang, places) == best
        held_once(outlook, verdict)


def held_once(outlook: Outlook, verdict: Placed) -> None:
    """Nothing beyond capacity, no device twice, each claim of a pod told once."""
    fleet = outlook.fleet
    for row, used in enumerate(fleet.used):
        for name, amount in used.items():
            there = fleet.nodes[row]
            assert there is not None and amount <= there.allocatable.get(name, 0)
    taken = []
    for assignment in verdict.assignments:
        assert set(assignment.allocations) == set(assignment.pod.claims)
        for allocation in assignment.allocations.values():
            assert allocation.devices is not None
            for result in allocation.devices.results:
                assert result.pool == assignment.node
                taken.append((result.pool, result.device))
    assert len(taken) == len(set(taken))


@settings(max_examples=60, deadline=None)
@given(cases(devices=False, most=5, depth=0))
def test_one_group_of_plain_pods(case: Case) -> None:
    check(case)


@settings(max_examples=60, deadline=None)
@given(cases(devices=True, most=4, depth=0))
def test_one_group_with_devices(case: Case) -> None:
    check(case)


@settings(max_examples=30, deadline=None)
@given(cases(devices=True, most=4, depth=0))
def test_devices_as_upstream_chooses_them(case: Case) -> None:
    check(case, "upstream")


@settings(max_examples=50, deadline=None)
@given(cases(devices=False, most=5, depth=2))
def test_groups_in_groups(case: Case) -> None:
    check(case)


@settings(max_examples=50, deadline=None)
@given(cases(devices=True, most=4, depth=1))
def test_groups_in_groups_with_devices(case: Case) -> None:
    check(case)
