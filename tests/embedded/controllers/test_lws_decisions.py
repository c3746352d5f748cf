"""Decisions of the LeaderWorkerSet controllers: revisions, status, and when a group goes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from embedded.controllers.lws_builders import PREFIX, Object, container, spec
from fairlead.embedded.controllers.leader_worker_sets.objects import leaders_set, workers_set
from fairlead.embedded.controllers.leader_worker_sets.restarts import should_recreate
from fairlead.embedded.controllers.leader_worker_sets.revisions import (
    compute_revision,
    outdated,
    restore,
    revision_data,
)
from fairlead.embedded.controllers.leader_worker_sets.rollout import GroupState, LeadersPlan
from fairlead.embedded.controllers.leader_worker_sets.status import compute_status

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def lws(**fields: Any) -> Object:
    meta = {"name": "s", "namespace": "n", "uid": "u", "generation": 2} | fields.pop("metadata", {})
    return {"metadata": meta, "spec": spec(**fields)}


def stored(revision: Object, **labels: str) -> Object:
    made = copy.deepcopy(revision)
    made["metadata"]["labels"] |= labels
    return made


# Revisions


def test_a_new_set_gets_its_first_revision_and_keeps_it() -> None:
    first = compute_revision(lws(), [], None)
    assert first.create is not None and not first.is_new and first.create["revision"] == 1
    assert first.create["metadata"]["labels"] == {f"{PREFIX}name": "s", f"{PREFIX}template-revision-hash": first.key}
    again = compute_revision(lws(), [first.create], first.key)
    assert (again.key, again.create, again.is_new) == (first.key, None, False)


@pytest.mark.parametrize(
    ("changed", "is_new"),
    [
        ({"size": 4}, True),
        ({"networkConfig": {"subdomainPolicy": "UniquePerReplica"}}, True),
        ({"workerTemplate": {"spec": {"containers": [container(image="b")]}}}, True),
        ({"replicas": 7}, False),
        ({"startupPolicy": "LeaderReady"}, False),
        # Said or left to the default is the same.
        ({"networkConfig": {"subdomainPolicy": "Shared"}}, False),
        ({"restartPolicy": "RecreateGroupOnPodRestart"}, False),
    ],
)
def test_what_makes_a_revision(changed: dict[str, Any], is_new: bool) -> None:
    first = compute_revision(lws(), [], None)
    assert first.create is not None
    after = compute_revision(lws(**changed), [first.create], first.key)
    assert after.is_new == is_new and (after.create is not None) == is_new
    if after.create is not None:
        assert after.key != first.key and after.create["revision"] == 2


def test_a_revision_that_was_written_and_not_used_is_used() -> None:
    first = compute_revision(lws(), [], None).create
    assert first is not None
    key = first["metadata"]["labels"][f"{PREFIX}template-revision-hash"]
    second = compute_revision(lws(size=4), [first], key).create
    assert second is not None
    again = compute_revision(lws(size=4), [first, second], key)
    assert again.create is None and again.is_new and outdated([first, second], again.key) == [first["metadata"]["name"]]


def test_a_lost_revision_is_written_again_under_its_key() -> None:
    again = compute_revision(lws(), [], "old-key")
    assert (again.key, again.is_new) == ("old-key", False) and again.create is not None


def test_a_group_is_restored_as_its_revision_has_it() -> None:
    revision = compute_revision(lws(size=2), [], None).create
    assert revision is not None
    now = lws(size=5, replicas=9)
    back = restore(now, revision)
    assert revision_data(back) == revision_data(lws(size=2)) and back["spec"]["replicas"] == 9


# Objects


def test_leaders_and_workers_are_as_published() -> None:
    annotations = {f"{PREFIX}exclusive-topology": "zone", f"{PREFIX}subgroup-exclusive-topology": "rack", "mine": "1"}
    wanted = lws(
        size=5, subGroupPolicy={"subGroupSize": 2, "subGroupPolicyType": "LeaderExcluded"},
        metadata={"annotations": annotations, "labels": {"team": "a"}},
        volumeClaimTemplates=[
            {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "dataSource": {}}}
        ],
        persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete"},
    )  # fmt: skip
    leaders = leaders_set(wanted, LeadersPlan(3, 1), "k")
    assert leaders["metadata"]["labels"] == {
        "team": "a", f"{PREFIX}name": "s", f"{PREFIX}template-revision-hash": "k",
    }  # fmt: skip
    assert leaders["metadata"]["annotations"].items() >= {"mine": "1", f"{PREFIX}replicas": "2"}.items()
    assert leaders["spec"]["updateStrategy"]["rollingUpdate"] == {"partition": 1, "maxUnavailable": 1}
    assert leaders["spec"]["template"]["metadata"]["annotations"] == {
        f"{PREFIX}size": "5", f"{PREFIX}exclusive-topology": "zone", f"{PREFIX}subgroup-size": "2",
        f"{PREFIX}subgroup-policy-type": "LeaderExcluded", f"{PREFIX}subgroup-exclusive-topology": "rack",
    }  # fmt: skip
    assert leaders["spec"]["volumeClaimTemplates"] == [
        {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    ]
    tpu = container(resources={"limits": {"google.com/tpu": "4"}})
    leader = {
        "metadata": {
            "name": "s-1", "namespace": "n", "uid": "p",
            "labels": {f"{PREFIX}group-index": "1", f"{PREFIX}group-key": "g", f"{PREFIX}template-revision-hash": "k"},
        },
        "spec": {"containers": [tpu]},
    }  # fmt: skip
    workers = workers_set(wanted, wanted, leader, {"zone": "z1"})
    assert (workers["spec"]["replicas"], workers["spec"]["ordinals"]) == (4, {"start": 1})
    assert workers["metadata"]["ownerReferences"][0]["uid"] == "p"
    assert workers["spec"]["template"]["spec"]["nodeSelector"] == {"zone": "z1"}
    said = workers["spec"]["template"]["metadata"]["annotations"]
    assert said.items() >= {f"{PREFIX}leader-name": "s-1", f"{PREFIX}leader-requests-tpus": "true"}.items()
    assert workers["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Delete"}


# Status


def groups(text: str) -> list[GroupState]:
    return [GroupState(i, ready=c in "no", updated=c in "nw") for i, c in enumerate(text)]


@pytest.mark.parametrize(
    ("text", "fields", "true", "counts", "settled"),
    [
        ("", {}, ["Progressing"], (0, 0), False),
        ("nw", {}, ["Progressing"], (1, 2), False),
        ("nn", {}, ["Available"], (2, 2), True),
        ("on", {}, ["UpdateInProgress", "Progressing"], (2, 1), False),
        # Surge is counted and says nothing of the wanted.
        ("nno", {}, ["Available"], (3, 2), True),
        ("", {"replicas": 0}, ["Available"], (0, 0), True),
    ],
)
def test_status(text: str, fields: dict[str, Any], true: list[str], counts: tuple[int, int], settled: bool) -> None:
    step = compute_status(lws(**fields), groups(text), len(text), NOW)
    assert [c["type"] for c in step.status["conditions"] if c["status"] == "True"] == true
    assert (step.status.get("readyReplicas", 0), step.status.get("updatedReplicas", 0)) == counts
    assert step.is_settled == settled and step.event is not None
    assert step.status["hpaPodSelector"] == f"{PREFIX}name=s,{PREFIX}worker-index=0"


def test_available_excludes_the_others_and_nothing_is_told_twice() -> None:
    progressing = compute_status(lws(), groups("on"), 2, NOW)
    now = lws() | {"status": progressing.status}
    assert compute_status(now, groups("on"), 2, LATER).event is None
    done = compute_status(now, groups("nn"), 2, LATER)
    assert {c["type"]: c["status"] for c in done.status["conditions"]} == {
        "UpdateInProgress": "False", "Progressing": "False", "Available": "True",
    }  # fmt: skip
    assert done.event == ("AllGroupsReady", "All replicas are ready, with 2 groups ready of total 2 groups")


# Restarts


def member(
    index: int, *, restarts: int = 0, deleting: bool = False, phase: str = "Running", revision: str = "k"
) -> Object:
    meta: Object = {
        "name": "s-0" if index == 0 else f"s-0-{index}", "uid": f"p{index}",
        "labels": {f"{PREFIX}worker-index": str(index), f"{PREFIX}template-revision-hash": revision},
    }  # fmt: skip
    if index:
        meta["ownerReferences"] = [{"kind": "StatefulSet", "uid": "w", "controller": True}]
    if deleting:
        meta["deletionTimestamp"] = NOW
    return {"metadata": meta, "status": {"phase": phase, "containerStatuses": [{"restartCount": restarts}]}}


LEADER = member(0)
WORKERS = {"metadata": {"uid": "w", "ownerReferences": [{"kind": "Pod", "uid": "p0", "controller": True}]}}


@pytest.mark.parametrize(
    ("policy", "pod", "expected"),
    [
        ("RecreateGroupOnPodRestart", member(1, restarts=1), True),
        ("RecreateGroupOnPodRestart", member(1, deleting=True), True),
        ("RecreateGroupOnPodRestart", member(0, restarts=1), True),
        ("RecreateGroupOnPodRestart", member(1), False),
        # A pod that has ended for good is its StatefulSet's to replace: that deletes it.
        ("RecreateGroupOnPodRestart", member(1, restarts=1, phase="Failed"), False),
        # Of another generation.
        ("RecreateGroupOnPodRestart", member(1, restarts=1, revision="other"), False),
        ("None", member(1, restarts=1), False),
        ("Default", member(1, deleting=True), False),
        ("RecreateGroupAfterStart", member(1, restarts=1), True),
    ],
)
def test_when_a_group_is_made_anew(policy: str, pod: Object, expected: bool) -> None:
    members = [LEADER, pod, member(2)] if pod["metadata"]["name"] != "s-0" else [pod, member(1), member(2)]
    assert should_recreate(lws(restartPolicy=policy), pod, members[0], WORKERS, members) == expected


def test_a_group_that_has_not_started_is_left_to_start() -> None:
    restarted, pending = member(1, restarts=1), member(2, phase="Pending")
    for members in ([LEADER, restarted, pending], [LEADER, restarted]):
        late = lws(restartPolicy="RecreateGroupAfterStart")
        assert not should_recreate(late, restarted, LEADER, WORKERS, members)
        annotated = lws(metadata={"annotations": {f"{PREFIX}experimental-recreate-group-after-start": ""}})
        assert not should_recreate(annotated, restarted, LEADER, WORKERS, members)
        assert should_recreate(lws(), restarted, LEADER, WORKERS, members)


def test_workers_of_a_leader_that_is_gone_do_not_end_the_next() -> None:
    stale = {"metadata": {"uid": "other"}}
    assert not should_recreate(lws(), member(1, deleting=True), LEADER, stale, [])
    assert not should_recreate(lws(), member(1, deleting=True), LEADER, None, [])
    assert not should_recreate(lws(), member(1, deleting=True), None, WORKERS, [])
