"""Remedies: each is proposed where it helps, and helps when it is done to the objects themselves."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from fairlead.kube.objects import Node
from fairlead.scheduling.explain.trials import Trials
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.verdict import Because, Placed
from scheduling.explain.told import RACK, story_of
from scheduling.planner_objects import (
    DRIVER,
    NOW_S,
    claim,
    decide_all,
    gang_of,
    gpu_class,
    gpus,
    node,
    planner_with,
    pod,
    queue,
)

TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
UNHEALTHY = [{"key": "unhealthy", "effect": "NoSchedule"}]
TOLERATIONS = {"tolerations": [{"key": "dedicated", "operator": "Exists"}]}
SELECTOR = {"nodeSelector": {"disk": "ssd"}}
NEAR = {"labelSelector": {"matchLabels": {"app": "absent"}}, "topologyKey": "kubernetes.io/hostname"}
AFFINITY = {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [NEAR]}}}
SPREAD = {
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
         "labelSelector": {"matchLabels": {"app": "a"}}}
    ]
}  # fmt: skip


def cordoned(name: str) -> Node:
    body = msgspec.to_builtins(node(name))
    return msgspec.convert({**body, "spec": {"unschedulable": True}}, Node)


def placed(*objects: Any) -> bool:
    """Whether the pods of name p or g-… of these objects get a place."""
    verdicts = decide_all(planner_with(*objects))
    return any(isinstance(each, Placed) and each.gang.name in ("p", "g") for each in verdicts)


Fix = Callable[[], Sequence[Any]]

CASES: dict[str, tuple[Sequence[Any], str, str, Fix]] = {
    "taint": (
        [node("n", taints=[TAINT]), pod("p")],
        "tolerate", "tolerate the taint dedicated=db",
        lambda: [node("n", taints=[TAINT]), pod("p", **TOLERATIONS)],
    ),
    "cordon": (
        [cordoned("n"), pod("p")],
        "tolerate", "uncordon nodes (kubectl uncordon)", lambda: [node("n"), pod("p")],
    ),
    "selector": (
        [node("n"), pod("p", **SELECTOR)],
        "selector", "leave disk=ssd out of the node selector", lambda: [node("n"), pod("p")],
    ),
    "affinity": (
        [node("n"), pod("p", **AFFINITY)],
        "affinity", "make the pod affinity and anti-affinity preferred", lambda: [node("n"), pod("p")],
    ),
    "spread": (
        [node("n"), pod("p", labels={"app": "a"}, **SPREAD)],
        "spread", "make the topology spread constraints wishes (whenUnsatisfiable: ScheduleAnyway)",
        lambda: [node("n"), pod("p", labels={"app": "a"})],
    ),
    "cpu": (
        [node("n"), pod("p", cpu="10")],
        "resources", "request 8 cpu a pod, not 10", lambda: [node("n"), pod("p", cpu="8")],
    ),
    "topology": (
        [node("a", labels={RACK: "r1"}), node("b", labels={RACK: "r2"}),
         *gang_of("g", 2, cpu="8", topology={"required": "rack"})],
        "topology", "prefer one rack instead of requiring it",
        lambda: [node("a"), node("b"), *gang_of("g", 2, cpu="8")],
    ),
    "fewer devices": (
        [node("n"), gpu_class(), gpus("n", 4), claim("p", 6), pod("p", devices=True)],
        "count", "ask for 4 devices in a request, not 6",
        lambda: [node("n"), gpu_class(), gpus("n", 4), claim("p", 4), pod("p", devices=True)],
    ),
    "eviction": (
        [node("n"), gpu_class(), gpus("n", 4), claim("old", 2), pod("old", devices=True, priority=9),
         claim("p", 4), pod("p", devices=True)],
        "evict", "end default/old",
        lambda: [node("n"), gpu_class(), gpus("n", 4), claim("p", 4), pod("p", devices=True)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_proposed_where_it_helps(name: str) -> None:
    objects, kind, text, fixed = CASES[name]
    planner = planner_with(*objects)
    decide_all(planner)
    story = story_of(planner, "g" if name == "topology" else "p")
    found = {remedy.text: remedy for remedy in story.remedies}
    assert text in found, story.remedies
    assert found[text].kind == kind
    assert found[text].nodes and found[text].placed
    assert placed(*fixed()), "what is proposed does not help"
    assert not placed(*objects)


def test_tainted_devices_are_proposed() -> None:
    slices = gpus("n", 2, taints={"gpu-0": UNHEALTHY})
    planner = planner_with(node("n"), gpu_class(), slices, claim("p", 2), pod("p", devices=True))
    decide_all(planner)
    assert "tolerate device taints in the claims" in [each.text for each in story_of(planner, "p").remedies]


def test_how_many_of_a_gang_fit_now() -> None:
    planner = planner_with(node("a", cpu="3"), *gang_of("g", 5))
    decide_all(planner)
    last = story_of(planner, "g").remedies[-1]
    assert (last.kind, last.placed) == ("size", 3)
    assert last.text == "lower the gang to 3 pods: so many of its 5 fit now"


def test_quota_is_raised_only_on_paper() -> None:
    team = queue("team", cpu={"limit": 1})
    planner = planner_with(team, node("n"), pod("p", cpu="2", labels={"fairlead.dev/queue": "team"}))
    decide_all(planner)
    story = story_of(planner, "p")
    assert story.explanation is not None and story.explanation.because is Because.QUOTA
    (remedy,) = story.remedies
    assert (remedy.kind, remedy.nodes) == ("quota", ("n",))


def test_nothing_is_proposed_for_what_waits_for_something_else() -> None:
    planner = planner_with(node("n"), pod("p", schedulingGates=[{"name": "later"}]))
    decide_all(planner)
    assert story_of(planner, "p").remedies == ()


def test_trials_are_bounded_and_leave_nothing_behind() -> None:
    planner = planner_with(node("n", taints=[TAINT]), *gang_of("g", 3, cpu="5", **SELECTOR))
    decide_all(planner)
    before = snapshot(planner)
    trials = Trials(planner.outlook, most=1)
    story = story_of(planner, "g", trials=trials)
    assert trials.made == 1 and story.is_cut
    assert snapshot(planner) == before


def snapshot(planner: Planner) -> object:
    fleet = planner.fleet
    return (
        sorted(fleet.pods),
        [sorted(on) for on in fleet.on],
        {key: state.allocation for key, state in fleet.claims.items()},
    )


def test_steps_are_bounded() -> None:
    planner = planner_with(node("n", taints=[TAINT]), pod("p", **SELECTOR))
    decide_all(planner)
    trials = Trials(planner.outlook, steps=0)
    assert story_of(planner, "p", trials=trials, now_s=NOW_S).remedies == ()
    assert trials.is_cut and DRIVER not in planner.fleet.row_of
