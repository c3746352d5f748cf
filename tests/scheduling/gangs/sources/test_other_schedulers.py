"""Gangs as KAI, Volcano, coscheduling and Kueue describe them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.scheduling.gangs.levels import ALIASES
from fairlead.scheduling.gangs.sources import GangContext, Member
from scheduling.gangs.sources.members import gang_of, member, names

RACK, BLOCK, ZONE = ALIASES["rack"], ALIASES["block"], ALIASES["zone"]


def with_group(resource: str, spec: Any, **more: Any) -> GangContext:
    objects = {
        (resource, "team", "pg"): {"metadata": {"name": "pg"}, "spec": spec},
        ("topologies.kai.scheduler", "", "cluster"): {
            "spec": {"levels": [{"nodeLabel": "example.com/hall", "alias": "hall"}, {"nodeLabel": "example.com/row"}]}
        },
    }
    return GangContext(raw=objects.get, priority={"train": 40}.get, **more)


def with_kai(**spec: Any) -> GangContext:
    return with_group("podgroups.scheduling.run.ai", spec)


def kai(name: str, subgroup: str = "", annotations: dict[str, str] | None = None) -> Member:
    labels = {"kai.scheduler/subgroup-name": subgroup} if subgroup else {}
    return member(name, labels=labels, annotations={"pod-group-name": "pg"} | (annotations or {}))


def test_a_flat_group_of_kai() -> None:
    found = with_kai(minMember=2, queue="q", priorityClassName="train", preemptibility="non-preemptible")
    gang = gang_of([kai("a"), kai("b"), kai("c")], found)
    assert (gang.kind, gang.namespace, gang.name) == ("KAI PodGroup", "team", "pg")
    assert (gang.queue, gang.priority) == ("q", 40)
    assert (gang.root.minimum, gang.is_preemptible, gang.waits_for) == (2, False, "")
    assert gang_of([kai("a")], with_kai(queue="q")).root.minimum == 1
    assert "waits for PodGroup team/pg (scheduling.run.ai/v2alpha2)" in gang_of([kai("a")]).waits_for


def test_sub_groups_of_kai_name_their_parents() -> None:
    found = with_kai(
        minSubGroup=1,
        topologyConstraint={"topology": "cluster", "requiredTopologyLevel": "hall"},
        subGroups=[
            {
                "name": "decode",
                "parent": "replica",
                "minMember": 2,
                "topologyConstraint": {"preferredTopologyLevel": "rack"},
            },
            {"name": "replica"},
            {"name": "prefill", "parent": "replica", "minMember": 1},
        ],
    )
    gang = gang_of([kai("p", "prefill"), kai("d-0", "decode"), kai("d-1", "decode")], found)
    assert gang.waits_for == "" and gang.root.minimum_groups == 1
    assert gang.root.topology.required == ("example.com/hall",)
    (replica,) = gang.root.groups
    assert [(group.name, names(group.pods), group.minimum) for group in replica.groups] == [
        ("decode", ["d-0", "d-1"], 2),
        ("prefill", ["p"], 1),
    ]
    assert replica.groups[0].topology.preferred == (RACK,)


def test_topology_annotations_of_kai() -> None:
    told = {"kai.scheduler/topology": "cluster", "kai.scheduler/topology-required-placement": "example.com/row"}
    gang = gang_of([kai("a", annotations=told)], with_kai(minMember=1))
    assert gang.root.topology.required == ("example.com/row",)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"minMember": "x"}, "minMember of PodGroup team/pg is 'x': write a whole number"),
        ({"minSubGroup": 3}, "there are 0 sub groups in it: lower minSubGroup"),
        ({"subGroups": [{"name": "a"}, {"name": "a"}]}, "two sub groups of one name"),
        ({"subGroups": [{"name": "a", "parent": "z"}]}, "there is no such sub group"),
        ({"subGroups": [{"minMember": 1}]}, "has a sub group without a name"),
        (
            {"subGroups": [{"name": "g0"}, *({"name": f"g{i + 1}", "parent": f"g{i}"} for i in range(900))]},
            "nested more than 8 deep",
        ),
        ({"subGroups": [{"name": "a", "parent": "b"}, {"name": "b", "parent": "a"}]}, "go in a circle (a, b)"),
        ({"topologyConstraint": {"requiredTopologyLevel": "hall"}}, "there is no topology level 'hall'"),
    ],
)
def test_bad_groups_of_kai_say_what_is_wrong(spec: Any, said: str) -> None:
    assert said in gang_of([kai("a")], with_kai(**spec)).waits_for


def test_an_unknown_sub_group_of_kai() -> None:
    assert "has these sub groups: none" in gang_of([kai("a", "x")], with_kai(minMember=1)).waits_for


def with_volcano(**spec: Any) -> GangContext:
    return with_group("podgroups.scheduling.volcano.sh", spec)


def volcano(name: str, task: str = "", labels: dict[str, str] | None = None) -> Member:
    told = {"scheduling.k8s.io/group-name": "pg"} | ({"volcano.sh/task-spec": task} if task else {})
    return member(name, annotations=told, labels=labels)


def test_a_flat_group_of_volcano() -> None:
    found = with_volcano(minMember=2, queue="default", networkTopology={"mode": "hard", "highestTierAllowed": 2})
    gang = gang_of([volcano("a"), volcano("b")], found)
    assert (gang.kind, gang.queue, gang.root.minimum, gang.waits_for) == ("Volcano PodGroup", "", 2, "")
    assert gang.root.topology.required == (BLOCK,)
    soft = gang_of([volcano("a")], with_volcano(queue="q", networkTopology={"mode": "soft", "highestTierName": "rack"}))
    assert (soft.queue, soft.root.topology.preferred, soft.root.topology.required) == ("q", (RACK,), ())
    other = member("a", annotations={"scheduling.volcano.sh/group-name": "pg"})
    assert gang_of([other], found).kind == "Volcano PodGroup"


def test_tasks_of_volcano_have_minima_of_their_own() -> None:
    found = with_volcano(minMember=3, minTaskMember={"ps": 1, "worker": 2})
    pods = [volcano("ps-0", "ps"), volcano("w-0", "worker"), volcano("w-1", "worker"), volcano("x")]
    gang = gang_of(pods, found)
    assert gang.waits_for == "" and gang.root.minimum == 3 and names(gang.root.pods) == ["x"]
    assert gang_of([pods[0], pods[1], pods[3]], found).waits_for == (
        "waits for 1 more pod of group worker (1 of 2 are there)"
    )


def test_sub_groups_of_volcano_are_by_labels() -> None:
    policy = {
        "name": "slice",
        "labelSelector": {"matchLabels": {"role": "w"}},
        "matchLabelKeys": ["slice"],
        "subGroupSize": 2,
        "minSubGroups": 1,
        "networkTopology": {"highestTierAllowed": 1},
    }
    pods = [volcano(f"w-{i}", labels={"role": "w", "slice": str(i // 2)}) for i in range(3)] + [volcano("m")]
    gang = gang_of(pods, with_volcano(minMember=3, subGroupPolicy=[policy]))
    (slices,) = gang.root.groups
    assert gang.waits_for == "" and slices.minimum_groups == 1
    assert [(group.name, names(group.pods)) for group in slices.groups] == [("slice/0", ["w-0", "w-1"])]
    assert slices.groups[0].topology.required == (RACK,), "the second slice is not whole yet"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"minMember": -1}, "minMember of PodGroup team/pg is '-1'"),
        ({"networkTopology": {"highestTierName": "spine"}}, "there is no topology level 'spine'"),
        ({"networkTopology": {"highestTierAllowed": "two"}}, "highestTierAllowed of PodGroup team/pg is 'two'"),
        ({"minTaskMember": {"w": None, "x": "y"}}, "x of PodGroup team/pg, minTaskMember is 'y'"),
        (
            {"subGroupPolicy": [{"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}]},
            "labelSelector",
        ),
        ({"subGroupPolicy": [{"labelSelector": "x"}]}, "labelSelector"),
    ],
)
def test_bad_groups_of_volcano_say_what_is_wrong(spec: Any, said: str) -> None:
    assert said in gang_of([volcano("a")], with_volcano(**spec)).waits_for


def test_a_group_of_the_coscheduling_plugin() -> None:
    pod = member(
        "a", labels={"scheduling.x-k8s.io/pod-group": "pg"}, annotations={"fairlead.dev/topology-preferred": "rack"}
    )
    gang = gang_of([pod], with_group("podgroups.scheduling.x-k8s.io", {"minMember": 3}))
    assert (gang.kind, gang.waits_for) == ("Coscheduling PodGroup", "waits for 2 more pods (1 of 3 are there)")
    assert gang.root.topology.preferred == (RACK,)
    assert "waits for PodGroup team/pg (scheduling.x-k8s.io/v1alpha1)" in gang_of([pod]).waits_for


def kueue(name: str, total: str = "2", **annotations: str) -> Member:
    told = {"kueue.x-k8s.io/pod-group-total-count": total} if total else {}
    told |= {f"kueue.x-k8s.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return member(name, labels={"kueue.x-k8s.io/pod-group-name": "pg"}, annotations=told)


def test_a_pod_group_of_kueue() -> None:
    gang = gang_of(
        [
            kueue("a", podset_required_topology="example.com/rack"),
            kueue("b", podset_required_topology="example.com/rack"),
        ]
    )
    assert (gang.kind, gang.root.minimum, gang.waits_for, gang.recovery) == ("Kueue pod group", 2, "", "member")
    assert gang.root.topology.required == ("example.com/rack",) and gang.root.groups == ()
    assert gang_of([kueue("a")]).waits_for == "waits for 1 more pod (1 of 2 are there)"


def test_roles_of_kueue_keep_to_topologies_of_their_own() -> None:
    pods = [
        kueue("l", "3", role_hash="1", podset_preferred_topology=ZONE),
        kueue("w-0", "3", role_hash="2", podset_slice_required_topology=RACK, podset_slice_size="2"),
        kueue("w-1", "3", role_hash="2", podset_slice_required_topology=RACK, podset_slice_size="2"),
    ]
    gang = gang_of(pods)
    leader, workers = gang.root.groups
    assert (gang.waits_for, gang.root.minimum) == ("", 3)
    assert names(leader.pods) == ["l"] and leader.topology.preferred == (ZONE,)
    assert (workers.topology.slice_level, workers.topology.slice_size) == (RACK, 2)
    layered = '[{"topology": "example.com/rack", "size": 4}]'
    (found,) = [gang_of([kueue("a", "1", podset_slice_required_topology_constraints=layered)]).root.topology]
    assert (found.slice_level, found.slice_size) == ("example.com/rack", 4)


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ([kueue("a", "")], "no pod of group team/pg has the annotation kueue.x-k8s.io/pod-group-total-count"),
        ([kueue("a", "two")], "is 'two': write a whole number of at least 1"),
        ([kueue("a", "2"), kueue("b", "3")], "is '2' on pod team/a and '3' on pod team/b: write the same number"),
        ([kueue("a", podset_required_topology="x", podset_preferred_topology="y")], "write one of them"),
        ([kueue("a", podset_slice_size="2")], "write kueue.x-k8s.io/podset-slice-required-topology too"),
        ([kueue("a", podset_slice_required_topology="x")], "write kueue.x-k8s.io/podset-slice-size too"),
        ([kueue("a", podset_slice_required_topology_constraints="[{}, {}]")], "one layer of slices"),
        ([kueue("a", podset_slice_required_topology_constraints="{")], "write it so: [{"),
    ],
)
def test_bad_groups_of_kueue_say_what_is_wrong(pods: list[Member], said: str) -> None:
    assert said in gang_of(pods).waits_for


FIELDS = [
    "minMember", "minSubGroup", "subGroups", "name", "parent", "topologyConstraint", "requiredTopologyLevel", "queue",
    "networkTopology", "highestTierAllowed", "subGroupPolicy", "labelSelector", "matchLabels", "minTaskMember",
    "matchLabelKeys", "subGroupSize", "minSubGroups", "priorityClassName", "levels", "leaderWorkerTemplate", "size",
    "startupPolicy", "restartPolicy",
]  # fmt: skip
ANY_SPEC = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "a", "rack", "hard"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(FIELDS), ANY_SPEC, max_size=6) | ANY_SPEC)
def test_whatever_an_object_holds_is_no_exception(spec: Any) -> None:
    of_group = {"leaderworkerset.sigs.k8s.io/name": "pg", "leaderworkerset.sigs.k8s.io/group-index": "0"}
    for resource, pods in (
        ("podgroups.scheduling.run.ai", [kai("a"), kai("b", "a")]),
        ("podgroups.scheduling.volcano.sh", [volcano("a", "a"), volcano("b")]),
        ("podgroups.scheduling.x-k8s.io", [member("a", labels={"scheduling.x-k8s.io/pod-group": "pg"})]),
        ("leaderworkersets.leaderworkerset.x-k8s.io", [member("a", labels=of_group)]),
    ):
        gang = gang_of(pods, with_group(resource, spec))
        assert len(gang.pods) <= len(pods)
        assert gang.waits_for or len(gang.pods) >= gang.root.minimum
