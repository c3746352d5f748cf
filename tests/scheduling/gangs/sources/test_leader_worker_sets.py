"""Gangs by LeaderWorkerSet."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.scheduling.gangs.assemble import gang_key
from fairlead.scheduling.gangs.sources import GangContext, GangRef, Member
from fairlead.scheduling.gangs.sources.leader_worker_sets import subgroup_of
from scheduling.gangs.sources.members import NOTHING_ELSE, gang_of, member, names

PREFIX = "leaderworkerset.sigs.k8s.io/"


def pod(
    worker: int, group: int = 0, *, size: str = "4", annotations: dict[str, str] | None = None, **more: Any
) -> Member:
    labels = {f"{PREFIX}name": "llm", f"{PREFIX}group-index": str(group), f"{PREFIX}worker-index": str(worker)}
    name = f"llm-{group}" + (f"-{worker}" if worker else "")
    told = {f"{PREFIX}size": size} | (annotations or {})
    return member(name, labels=labels | more.pop("labels", {}), annotations=told, **more)


def with_lws(**spec: Any) -> GangContext:
    key = ("leaderworkersets.leaderworkerset.x-k8s.io", "team", "llm")
    return GangContext(raw={key: {"metadata": {"labels": {"fairlead.dev/queue": "q"}}, "spec": spec}}.get)


def test_each_group_is_a_gang() -> None:
    assert gang_key(pod(1, 3)[0], NOTHING_ELSE) == GangRef("LeaderWorkerSet", "team", "llm-3")
    gang = gang_of([pod(10, size="3"), pod(0, size="3"), pod(2, size="3")])
    assert (gang.kind, gang.name, gang.waits_for, gang.root.minimum) == ("LeaderWorkerSet", "llm-0", "", 3)
    assert names(gang.root.pods) == ["llm-0", "llm-0-2", "llm-0-10"], "by worker index"
    assert gang_of([pod(0), pod(1)]).waits_for == "waits for 2 more pods (2 of 4 are there)"


@pytest.mark.parametrize(
    ("policy", "recovery"),
    [("RecreateGroupOnPodRestart", "gang"), ("RecreateGroupAfterStart", "gang"), ("None", "member"), (None, "gang")],
)
def test_recovery_is_by_the_restart_policy(policy: str | None, recovery: str) -> None:
    template = {"size": 2} | ({"restartPolicy": policy} if policy else {})
    gang = gang_of([pod(0, size="2"), pod(1, size="2")], with_lws(leaderWorkerTemplate=template))
    assert (gang.recovery, gang.queue) == (recovery, "q")
    told = gang_of([pod(0, size="1", annotations={"fairlead.dev/recovery": "member"})])
    assert told.recovery == "member", "pods may say otherwise"


def test_sub_groups_are_groups_with_a_topology_of_their_own() -> None:
    told = {
        f"{PREFIX}subgroup-size": "2",
        f"{PREFIX}exclusive-topology": "example.com/rack",
        f"{PREFIX}subgroup-exclusive-topology": "example.com/host",
    }
    gang = gang_of([pod(i, annotations=told) for i in range(4)])
    assert gang.root.topology.required == ("example.com/rack",)
    assert [names(group.pods) for group in gang.root.groups] == [["llm-0", "llm-0-1"], ["llm-0-2", "llm-0-3"]]
    assert all(group.topology.required == ("example.com/host",) and group.minimum == 2 for group in gang.root.groups)
    excluded = told | {f"{PREFIX}subgroup-policy-type": "LeaderExcluded"}
    gang = gang_of([pod(i, size="5", annotations=excluded) for i in range(5)])
    assert names(gang.root.pods) == ["llm-0"]
    assert [names(group.pods) for group in gang.root.groups] == [["llm-0-1", "llm-0-2"], ["llm-0-3", "llm-0-4"]]


@given(st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_sub_groups_are_as_large_as_said(count: int, size: int, extra_leader: bool) -> None:
    """As LeaderWorkerSet admits them: size or size - 1 is a multiple of the sub group's."""
    total = count * size + (1 if extra_leader else 0)
    counts: dict[int, int] = {}
    for worker in range(total):
        index = subgroup_of(worker, total, size)
        counts[index] = counts.get(index, 0) + 1
    has_extra = extra_leader and total % size != 0
    expected = {index: size + (1 if has_extra and index == 0 else 0) for index in range(count)}
    if extra_leader and not has_extra:  # sub groups of one: a leader is no exception to them
        expected[count] = 1
    assert counts == expected


def test_workers_that_come_after_their_leader_are_not_waited_for() -> None:
    exclusive = {f"{PREFIX}exclusive-topology": "example.com/rack"}
    alone = gang_of([pod(0, annotations=exclusive)])
    assert (alone.waits_for, alone.root.minimum) == ("", 1)
    late = with_lws(startupPolicy="LeaderReady", leaderWorkerTemplate={"size": 4})
    assert gang_of([pod(0)], late).waits_for == ""
    assert gang_of([pod(0)], with_lws(startupPolicy="LeaderCreated")).waits_for
    then = gang_of([pod(0, annotations=exclusive, node="n"), pod(1, annotations=exclusive)])
    assert then.waits_for == "waits for 2 more pods (2 of 4 are there)"


def test_topology_annotations_hold_for_the_group() -> None:
    gang = gang_of([pod(0, size="1", annotations={"fairlead.dev/topology-required": "nvlink"})])
    assert gang.root.topology.required == ("accelerator.topograph.run/domain",)


def test_what_cannot_be_read_says_why() -> None:
    assert gang_of([pod(0, size="many")]).waits_for == (
        "annotation leaderworkerset.sigs.k8s.io/size of pod team/llm-0 is 'many': write a whole number of at least 1"
    )
    bare = pod(0)[0].metadata.labels
    assert "waits for the size of LeaderWorkerSet group team/llm-0" in gang_of([member("x", labels=bare)]).waits_for
    zero = {f"{PREFIX}subgroup-size": "0"}
    assert "subgroup-size of pod team/llm-0 is '0'" in gang_of([pod(i, annotations=zero) for i in range(4)]).waits_for
    two = {f"{PREFIX}subgroup-size": "2"}
    odd = [
        pod(0, annotations=two, labels={f"{PREFIX}subgroup-index": "7"}),
        *(pod(i, annotations=two) for i in (1, 2, 3)),
    ]
    assert "a group of 4 in sub groups of 2 has 2, counted from 0" in gang_of(odd).waits_for
