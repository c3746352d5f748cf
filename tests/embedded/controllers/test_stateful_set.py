"""StatefulSet decisions played against a world whose pods become ready one move at a time."""

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.clock import format_time
from fairlead.embedded.controllers.stateful_set import (
    REVISION_LABEL,
    compute_stateful_set,
    ordinal,
    outdated_revisions,
)

Object = dict[str, Any]
T0 = 1_700_000_000.0


def stateful_set(replicas: int = 3, **spec: Any) -> Object:
    return {
        "metadata": {"name": "db", "namespace": "default", "uid": "s", "generation": 1},
        "spec": {
            "replicas": replicas,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        }
        | spec,
        "status": {},
    }


class World:
    def __init__(self, obj: Object) -> None:
        self.set = obj
        self.pods: dict[str, Object] = {}
        self.claims: dict[str, Object] = {}
        self.revisions: list[Object] = []
        self.now_s = T0
        self._uid = 0

    def reconcile(self) -> bool:
        self.now_s += 1
        step = compute_stateful_set(
            copy.deepcopy(self.set), copy.deepcopy(list(self.pods.values())), self.revisions, self.now_s, self.claims
        )
        changed = step.status != self.set["status"]
        self.set["status"] = step.status
        if step.renumber:
            name, number = step.renumber
            next(r for r in self.revisions if r["metadata"]["name"] == name)["revision"] = number
        if step.create_revision:
            self.revisions.append(step.create_revision)
        for claim in step.claims:
            assert claim["metadata"]["name"] not in self.claims
            self.claims[claim["metadata"]["name"]] = claim
        for name, owners in step.claim_owners.items():
            self.claims[name]["metadata"]["ownerReferences"] = owners
        for pod in step.create:
            assert pod["metadata"]["name"] not in self.pods
            self._uid += 1
            pod["metadata"] |= {"uid": f"u{self._uid}", "creationTimestamp": format_time(self.now_s)}
            pod["status"] = {"phase": "Pending"}
            self.pods[pod["metadata"]["name"]] = pod
        for name, labels in step.relabel.items():
            self.pods[name]["metadata"]["labels"] |= labels
        for name in step.delete:
            self.pods[name]["metadata"]["deletionTimestamp"] = format_time(self.now_s)
        for name in outdated_revisions(self.set, list(self.pods.values()), self.revisions, step.status):
            self.revisions = [r for r in self.revisions if r["metadata"]["name"] != name]
        did = step.create or step.delete or step.create_revision or step.renumber or step.relabel
        return changed or bool(did or step.claim_owners or step.claims)

    def kubelet(self) -> bool:
        """Remove one deleted pod, or make one pending pod ready."""
        for name, pod in list(self.pods.items()):
            if "deletionTimestamp" in pod["metadata"]:
                del self.pods[name]
                return True
            if pod["status"]["phase"] == "Pending":
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": format_time(self.now_s)}
                pod["status"] = {"phase": "Running", "conditions": [ready]}
                return True
        return False

    def settle(self, check: Any = None) -> None:
        for _ in range(400):
            moved = self.reconcile()
            if check:
                check(self)
            moved |= self.kubelet()
            if not moved and not self.reconcile():
                return
        raise AssertionError("the set did not come to rest")

    def available(self) -> int:
        return sum(
            p["status"]["phase"] == "Running" and "deletionTimestamp" not in p["metadata"] for p in self.pods.values()
        )

    def images(self) -> list[str]:
        return [self.pods[n]["spec"]["containers"][0]["image"] for n in sorted(self.pods)]

    def roll(self, image: str) -> None:
        self.set["spec"]["template"]["spec"]["containers"][0]["image"] = image
        self.set["metadata"]["generation"] += 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.sampled_from(["OrderedReady", "Parallel"]), st.integers(0, 3))
def test_scaling_keeps_to_the_order_and_ends(before: int, after: int, policy: str, start: int) -> None:
    world = World(stateful_set(before, podManagementPolicy=policy, ordinals={"start": start}))

    def in_order(w: World) -> None:
        if policy == "OrderedReady":
            unready = [p for p in w.pods.values() if p["status"]["phase"] == "Pending"]
            leaving = [p for p in w.pods.values() if "deletionTimestamp" in p["metadata"]]
            assert len(unready) <= 1 and len(leaving) <= 1

    world.settle(in_order)
    assert sorted(world.pods) == [f"db-{start + i}" for i in range(before)]
    world.set["spec"]["replicas"] = after
    world.settle(in_order)
    assert sorted(world.pods) == [f"db-{start + i}" for i in range(after)]
    status = world.set["status"]
    assert (status["replicas"], status["availableReplicas"]) == (after, after)
    assert status["currentRevision"] == status["updateRevision"]


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 5), st.integers(0, 5), st.sampled_from([1, 2, "50%"]), st.sampled_from(["OrderedReady", "Parallel"])
)
def test_a_rollout_takes_no_more_than_allowed_and_stops_at_the_partition(
    replicas: int, partition: int, unavailable: Any, policy: str
) -> None:
    rolling = {"partition": partition, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    world = World(stateful_set(replicas, podManagementPolicy=policy, updateStrategy=strategy))
    world.settle()
    world.roll("b")
    limit = unavailable if isinstance(unavailable, int) else max(1, -(-replicas // 2))

    def bounded(w: World) -> None:
        assert w.available() >= replicas - limit

    world.settle(bounded)
    old = min(partition, replicas)
    assert world.images() == ["a"] * old + ["b"] * (replicas - old)
    status = world.set["status"]
    assert status.get("updatedReplicas", 0) == replicas - old
    assert (status["currentRevision"] == status["updateRevision"]) == (old == 0)
    # Pods below the partition come back as they were.
    if old:
        del world.pods["db-0"]
        world.settle()
        assert world.images()[0] == "a"


def test_on_delete_waits_for_somebody_else_to_delete() -> None:
    world = World(stateful_set(2, updateStrategy={"type": "OnDelete"}))
    world.settle()
    world.roll("b")
    world.settle()
    assert world.images() == ["a", "a"]
    world.pods["db-1"]["metadata"]["deletionTimestamp"] = format_time(world.now_s)
    world.settle()
    assert world.images() == ["a", "b"]


def test_going_back_reuses_the_old_revision_as_the_newest() -> None:
    world = World(stateful_set(1))
    world.settle()
    for image in "ba":
        world.roll(image)
        world.settle()
    assert sorted(r["revision"] for r in world.revisions) == [2, 3]
    newest = max(world.revisions, key=lambda r: r["revision"])
    assert world.set["status"]["updateRevision"] == newest["metadata"]["name"]
    assert world.pods["db-0"]["metadata"]["labels"][REVISION_LABEL] == newest["metadata"]["name"]


def test_history_is_cut_to_its_limit() -> None:
    world = World(stateful_set(1, revisionHistoryLimit=2))
    for image in "abcdef":
        world.roll(image)
        world.settle()
    assert len(world.revisions) == 3


def test_a_pod_that_ended_is_replaced_and_lost_labels_come_back() -> None:
    world = World(stateful_set(2))
    world.settle()
    uid = world.pods["db-0"]["metadata"]["uid"]
    world.pods["db-0"]["status"]["phase"] = "Failed"
    del world.pods["db-1"]["metadata"]["labels"]["apps.kubernetes.io/pod-index"]
    world.settle()
    assert world.pods["db-0"]["metadata"]["uid"] != uid
    assert world.pods["db-1"]["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"


def test_ready_is_not_available_before_min_ready_seconds() -> None:
    world = World(stateful_set(2, minReadySeconds=30))
    world.reconcile()
    world.kubelet()
    world.reconcile()
    assert sorted(world.pods) == ["db-0"] and world.set["status"]["readyReplicas"] == 1
    step = compute_stateful_set(world.set, list(world.pods.values()), world.revisions, world.now_s)
    assert step.status["availableReplicas"] == 0 and step.recheck_in_s is not None and 0 < step.recheck_in_s <= 30
    world.now_s += 30
    world.reconcile()
    assert sorted(world.pods) == ["db-0", "db-1"]


def test_claims_follow_the_retention_policy() -> None:
    template = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    policy = {"whenDeleted": "Delete", "whenScaled": "Delete"}
    world = World(
        stateful_set(2, volumeClaimTemplates=[template], persistentVolumeClaimRetentionPolicy=policy)
    )  # fmt: skip
    world.settle()
    assert sorted(world.claims) == ["data-db-0", "data-db-1"]
    assert world.pods["db-1"]["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "data-db-1"}
    assert all(c["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet" for c in world.claims.values())
    world.set["spec"]["replicas"] = 1
    world.reconcile()
    (owner,) = world.claims["data-db-1"]["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Pod", "db-1")
    (kept,) = world.claims["data-db-0"]["metadata"]["ownerReferences"]
    assert kept["kind"] == "StatefulSet"


def test_only_names_of_the_set_are_its_pods() -> None:
    obj = stateful_set()
    names = {"db-0": 0, "db-12": 12, "db-x": None, "web-0": None, "db-1-0": None, "db": None}
    assert {n: ordinal(obj, {"metadata": {"name": n}}) for n in names} == names
