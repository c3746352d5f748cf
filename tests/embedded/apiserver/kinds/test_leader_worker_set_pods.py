"""What pods of LeaderWorkerSets get at admission."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.embedded.apiserver.kinds.leader_worker_set_pod import admit_group_member
from fairlead.kube.errors import Forbidden

PREFIX = "leaderworkerset.sigs.k8s.io/"
Object = dict[str, Any]


def member(index: int, size: int, *, annotations: dict[str, str] | None = None, **container: Any) -> Object:
    """A pod as its StatefulSet makes it."""
    labels = {f"{PREFIX}name": "s"} | ({f"{PREFIX}worker-index": "0"} if index == 0 else {f"{PREFIX}group-index": "0"})
    leader = {f"{PREFIX}leader-name": "s-0"} if index else {}
    return {
        "metadata": {
            "name": "s-0" if index == 0 else f"s-0-{index}", "namespace": "n", "labels": labels,
            "annotations": {f"{PREFIX}size": str(size), **leader, **(annotations or {})},
        },
        "spec": {"subdomain": "s", "containers": [{"name": "c", **container}]},
    }  # fmt: skip


def admitted(*args: Any, **kwargs: Any) -> Object:
    pod = member(*args, **kwargs)
    admit_group_member(pod)
    return pod


def env(pod: Object) -> dict[str, str]:
    return {v["name"]: v.get("value", "") for v in pod["spec"]["containers"][0]["env"]}


@pytest.mark.parametrize(
    ("size", "subgroup_size", "kind", "expected"),
    [
        # Whole sub groups with the leader in the first.
        (4, 2, "LeaderWorker", ["0", "0", "1", "1"]),
        # The leader on top of the first.
        (5, 2, "LeaderWorker", ["0", "0", "0", "1", "1"]),
        (5, 2, "LeaderExcluded", [None, "0", "0", "1", "1"]),
        (3, 1, "LeaderWorker", ["0", "1", "2"]),
    ],
)
def test_sub_groups(size: int, subgroup_size: int, kind: str, expected: list[str | None]) -> None:
    said = {f"{PREFIX}subgroup-size": str(subgroup_size), f"{PREFIX}subgroup-policy-type": kind}
    pods = [admitted(index, size, annotations=said) for index in range(size)]
    assert [p["metadata"]["labels"].get(f"{PREFIX}subgroup-index") for p in pods] == expected
    keys = {p["metadata"]["labels"].get(f"{PREFIX}subgroup-key") for p in pods}
    assert len(keys) == len(set(expected))


def test_an_exclusive_topology_is_shared_with_nobody() -> None:
    pod = admitted(0, 2, annotations={f"{PREFIX}exclusive-topology": "zone"})
    key = pod["metadata"]["labels"][f"{PREFIX}group-key"]
    affinity = pod["spec"]["affinity"]
    (mine,) = affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (others,) = affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert mine["topologyKey"] == others["topologyKey"] == "zone"
    assert mine["labelSelector"]["matchExpressions"][0]["values"] == [key]
    assert [e["operator"] for e in others["labelSelector"]["matchExpressions"]] == ["Exists", "NotIn"]
    admit_group_member(pod)
    assert len(affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]) == 1


def test_variables_come_first_and_once() -> None:
    own = [{"name": "LWS_GROUP_SIZE", "value": "mine"}, {"name": "ADDRESS", "value": "$(LWS_LEADER_ADDRESS)"}]
    pod = admitted(1, 3, env=own)
    assert [v["name"] for v in pod["spec"]["containers"][0]["env"]] == [
        "LWS_LEADER_ADDRESS", "LWS_GROUP_SIZE", "LWS_WORKER_INDEX", "ADDRESS",
    ]  # fmt: skip
    assert env(pod)["LWS_GROUP_SIZE"] == "3"


TPU: Object = {"resources": {"limits": {"google.com/tpu": "4"}}}
LEADS = {f"{PREFIX}leader-requests-tpus": "true"}


@pytest.mark.parametrize(
    ("index", "annotations", "hosts", "worker_id"),
    [
        (0, {}, "s-0.s,s-0-1.s,s-0-2.s", "0"),
        (2, LEADS, "s-0.s,s-0-1.s,s-0-2.s", "2"),
        # A leader without TPUs is none of the hosts, and numbers begin after it.
        (2, {}, "s-0-1.s,s-0-2.s", "1"),
    ],
)
def test_tpu_hosts(index: int, annotations: dict[str, str], hosts: str, worker_id: str) -> None:
    found = env(admitted(index, 3, annotations=annotations, **TPU))
    assert (found["TPU_WORKER_HOSTNAMES"], found["TPU_WORKER_ID"], found["TPU_NAME"]) == (hosts, worker_id, "s-0")
    assert found["TPU_PROCESS_ADDRESSES"] == ",".join(f"{h}:8476" for h in hosts.split(","))
    assert found["TPU_PROCESS_PORT"] == "8476"


@pytest.mark.parametrize(
    ("index", "annotations", "hosts", "worker_id"),
    [
        (0, {}, "s-0.s,s-0-1.s", "0"),
        (1, LEADS, "s-0.s,s-0-1.s", "1"),
        (2, LEADS, "s-0-2.s,s-0-3.s", "0"),
        (3, {}, "s-0-3.s,s-0-4.s", "0"),
    ],
)
def test_tpu_hosts_of_a_sub_group(index: int, annotations: dict[str, str], hosts: str, worker_id: str) -> None:
    said = {f"{PREFIX}subgroup-size": "2", **annotations}
    found = env(admitted(index, 4 if annotations or not index else 5, annotations=said, **TPU))
    assert (found["TPU_WORKER_HOSTNAMES"], found["TPU_WORKER_ID"]) == (hosts, worker_id)


def test_a_container_keeps_tpu_variables_of_its_own() -> None:
    found = env(admitted(1, 2, env=[{"name": "TPU_WORKER_ID", "value": "7"}], **TPU))
    assert found["TPU_WORKER_ID"] == "7" and "TPU_NAME" not in found
    assert env(admitted(1, 2, env=[{"name": "TPU_PROCESS_PORT", "value": "9"}], **TPU))[
        "TPU_PROCESS_ADDRESSES"
    ].endswith(":9")


def test_a_pod_that_only_says_it_belongs_is_refused() -> None:
    for key, value, why in (("size", None, "lacks the annotation"), ("size", "x", "not a number")):
        pod = member(1, 2)
        del pod["metadata"]["annotations"][f"{PREFIX}{key}"]
        if value:
            pod["metadata"]["annotations"][f"{PREFIX}{key}"] = value
        with pytest.raises(Forbidden, match=why):
            admit_group_member(pod)
