"""Gangs by PodGroup and CompositePodGroup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec import json

from fairlead.kube.kinds import COMPOSITE_POD_GROUPS, POD_GROUP_VERSIONS
from fairlead.kube.objects import CompositePodGroup, PodGroup
from fairlead.scheduling.gangs.assemble import assemble, gang_key
from fairlead.scheduling.gangs.sources import GangContext, GangRef
from fairlead.scheduling.gangs.sources.pod_groups import group_claims
from scheduling.gangs.sources.members import gang_of, member, names


def pod_group(name: str, spec: Mapping[str, Any], labels: Mapping[str, str] | None = None, **status: Any) -> PodGroup:
    metadata = {"name": name, "namespace": "team", "labels": labels or {}}
    return POD_GROUP_VERSIONS[0].decode(json.encode({"metadata": metadata, "spec": spec, "status": status}))


def composite(name: str, spec: Mapping[str, Any]) -> CompositePodGroup:
    return COMPOSITE_POD_GROUPS.decode(json.encode({"metadata": {"name": name, "namespace": "team"}, "spec": spec}))


def context(*objects: PodGroup | CompositePodGroup, **more: Any) -> GangContext:
    groups = {("team", o.metadata.name): o for o in objects if isinstance(o, PodGroup)}
    composites = {("team", o.metadata.name): o for o in objects if isinstance(o, CompositePodGroup)}
    return GangContext(pod_group=groups.get, composite_pod_group=composites.get, **more)


def gang_policy(count: int) -> dict[str, Any]:
    return {"schedulingPolicy": {"gang": {"minCount": count}}}


def test_a_gang_of_a_pod_group() -> None:
    spec = gang_policy(2) | {"schedulingConstraints": {"topology": [{"key": "example.com/rack"}]}, "priority": 50}
    pods = [member(f"w-{i}", pod_group="pg", priority=7) for i in range(3)]
    gang = gang_of(pods, context(pod_group("pg", spec, {"fairlead.dev/queue": "q"})))
    assert (gang.identity, gang.queue, gang.priority, gang.waits_for) == (("PodGroup", "team", "pg"), "q", 50, "")
    assert gang.root.minimum == 2 and names(gang.root.pods) == ["w-0", "w-1", "w-2"]
    assert gang.root.topology.required == ("example.com/rack",)


@pytest.mark.parametrize(
    ("mode", "whole"),
    [("PodGroup", True), ({"all": {}}, True), ("Pod", False), ({"single": {}}, False), (None, False)],
)
def test_the_disruption_mode_of_every_version(mode: Any, whole: bool) -> None:
    spec = gang_policy(1) | ({"disruptionMode": mode} if mode else {})
    gang = gang_of([member("a", pod_group="pg")], context(pod_group("pg", spec)))
    assert (gang.disruption, gang.recovery) == (("all", "gang") if whole else ("surplus", "member"))


def test_the_priority_of_a_class_and_of_pods() -> None:
    named = pod_group("pg", gang_policy(1) | {"priorityClassName": "high"})
    found = context(named, priority={"high": 9}.get)
    assert gang_of([member("a", pod_group="pg", priority=3)], found).priority == 9
    assert gang_of([member("a", pod_group="pg", priority=30)], found).priority == 30


def test_a_missing_pod_group_is_waited_for() -> None:
    gang = gang_of([member("a", pod_group="pg")], context())
    assert gang.waits_for == "waits for PodGroup team/pg, which its pods name and which does not exist"


def test_pods_of_a_basic_group_go_by_themselves_unless_something_binds_them() -> None:
    basic = {"schedulingPolicy": {"basic": {}}}
    pod, _ = member("a", pod_group="pg")
    assert gang_key(pod, context(pod_group("pg", basic))) is None
    near = pod_group("pg", basic | {"schedulingConstraints": {"topology": [{"key": "example.com/rack"}]}})
    gang = gang_of([member("a", pod_group="pg"), member("b", pod_group="pg")], context(near))
    assert gang.root.minimum == 1 and gang.root.topology.required == ("example.com/rack",)


def test_claims_that_a_group_shares() -> None:
    spec = gang_policy(1) | {
        "resourceClaims": [
            {"name": "fabric", "resourceClaimTemplateName": "t"},
            {"name": "store", "resourceClaimName": "store-claim"},
        ]
    }
    waiting = pod_group("pg", spec)
    assert group_claims(waiting) == {"fabric": "", "store": "store-claim"}
    assert gang_of([member("a", pod_group="pg")], context(waiting)).waits_for == (
        "waits for the ResourceClaim that PodGroup team/pg shares as 'fabric', to be made from template 't'"
    )
    made = pod_group("pg", spec, resourceClaimStatuses=[{"name": "fabric", "resourceClaimName": "pg-fabric-x"}])
    assert group_claims(made)["fabric"] == "pg-fabric-x"
    assert gang_of([member("a", pod_group="pg")], context(made)).waits_for == ""


def tree() -> list[PodGroup | CompositePodGroup]:
    """A root that wants two of its groups: a PodGroup, and a composite with a PodGroup that needs two pods."""
    near = {"schedulingConstraints": {"topology": [{"key": "example.com/block"}]}}
    return [
        composite("root", {"schedulingPolicy": {"gang": {"minGroupCount": 2}}, "priority": 4, **near}),
        composite(
            "inner",
            {"schedulingPolicy": {"gang": {"minGroupCount": 1}}, "parentCompositePodGroupName": "root"},
        ),
        pod_group("router", gang_policy(1) | {"parentCompositePodGroupName": "root"}),
        pod_group("decode", gang_policy(2) | {"parentCompositePodGroupName": "inner"}),
    ]


def test_composites_are_groups_within_the_gang_of_their_root() -> None:
    found = context(*tree())
    pods = [member("r", pod_group="router"), *(member(f"d-{i}", pod_group="decode") for i in range(2))]
    ref = gang_key(pods[1][0], found)
    assert ref == GangRef("CompositePodGroup", "team", "root") and ref.path == ("inner", "decode")
    gang = gang_of(pods, found)
    assert (gang.waits_for, gang.priority) == ("", 4)
    router, inner = gang.root.groups
    assert (gang.root.minimum, gang.root.minimum_groups) == (3, 2)
    assert gang.root.topology.required == ("example.com/block",)
    assert names(router.pods) == ["r"] and names(inner.groups[0].pods) == ["d-0", "d-1"]
    lonely = gang_of(pods[:1], found).waits_for
    assert lonely == "waits for 1 more complete group of root (1 of 2)"
    partly = gang_of(pods[:2], found).waits_for
    assert partly.endswith("of inner (0 of 1): waits for 1 more pod of group decode (1 of 2 are there)")


def test_groups_of_an_independent_composite_are_gangs_of_their_own() -> None:
    _, inner, router, decode = tree()
    loose = composite("root", {"schedulingPolicy": {"basic": {}}})
    found = context(loose, inner, router, decode)
    assert gang_key(member("r", pod_group="router")[0], found) == GangRef("PodGroup", "team", "router")
    assert gang_key(member("d", pod_group="decode")[0], found) == GangRef("CompositePodGroup", "team", "inner")


def test_parents_that_are_missing_or_go_in_a_circle() -> None:
    _, inner, router, decode = tree()
    pods = [member("d-0", pod_group="decode"), member("d-1", pod_group="decode")]
    missing = gang_of(pods, context(inner, router, decode)).waits_for
    assert missing == "waits for CompositePodGroup team/root, which inner names as its parent and which does not exist"
    back = composite(
        "root", {"schedulingPolicy": {"gang": {"minGroupCount": 1}}, "parentCompositePodGroupName": "inner"}
    )
    circle = gang_of(pods, context(back, inner, decode)).waits_for
    assert "the parents of PodGroup team/decode (inner, root) go in a circle" in circle
    chain = [
        composite(
            f"c{i}", {"schedulingPolicy": {"gang": {"minGroupCount": 1}}, "parentCompositePodGroupName": f"c{i + 1}"}
        )
        for i in range(9)
    ]
    deep = pod_group("deep", gang_policy(1) | {"parentCompositePodGroupName": "c0"})
    assert "more than 3 levels up" in gang_of([member("x", pod_group="deep")], context(deep, *chain)).waits_for


def test_a_composite_without_pods_is_no_exception() -> None:
    assert assemble(GangRef("CompositePodGroup", "team", "gone"), [], context()).waits_for
