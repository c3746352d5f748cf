"""Deployment decisions played against a small model of ReplicaSets and pods: bounds at every step, and an end."""

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.embedded.controllers.deployment import HASH_LABEL, REVISION, compute_deployment
from fairlead.embedded.controllers.rolling import (
    Bounds,
    Set,
    compute_old_sizes,
    compute_proportional,
    resolve_bounds,
    resolve_count,
)

Object = dict[str, Any]
T0 = 1_700_000_000.0


def deployment(replicas: int = 3, image: str = "a", **spec: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1, "annotations": {"team": "x"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
        }
        | spec,
    }


class Cluster:
    """ReplicaSets reach their size at once; their pods become available one per step."""

    def __init__(self, obj: Object) -> None:
        self.deployment = obj
        self.sets: list[Object] = []
        self.now_s = T0

    def step(self) -> bool:
        """One reconcile and one move of the world; False when nothing changed."""
        self.now_s += 1
        step = compute_deployment(self.deployment, self.sets, self.old_alive(), self.now_s)
        changed = bool(step.create or step.update or step.delete)
        if step.create:
            made = copy.deepcopy(step.create)
            made["metadata"] |= {"uid": f"rs{self.now_s}", "generation": 1, "creationTimestamp": "2023-11-14T22:13:20Z"}
            made["status"] = {}
            self.sets.append(made)
        for rs in self.sets:
            patch = step.update.get(rs["metadata"]["name"], {})
            rs["spec"] |= patch.get("spec", {})
            rs["metadata"].setdefault("annotations", {}).update(patch.get("metadata", {}).get("annotations", {}))
        self.sets = [rs for rs in self.sets if rs["metadata"]["name"] not in step.delete]
        if step.annotate:
            self.deployment["metadata"]["annotations"].update(step.annotate)
        self.deployment["status"] = step.status
        for rs in self.sets:
            status = rs["status"]
            size = rs["spec"]["replicas"]
            available = min(size, status.get("availableReplicas", 0) + 1)
            new = {
                "replicas": size,
                "readyReplicas": available,
                "availableReplicas": available,
                "observedGeneration": 1,
            }
            changed |= new != {k: status.get(k) for k in new}
            rs["status"] = new
        return changed

    def old_alive(self) -> int:
        wanted = self.deployment["spec"]["template"]["spec"]
        return sum(rs["status"].get("replicas", 0) for rs in self.sets if rs["spec"]["template"]["spec"] != wanted)

    def settle(self, check: Any = None) -> None:
        for _ in range(400):
            if check:
                check(self)
            if not self.step() and not self.step():
                return
        raise AssertionError("the rollout did not end")

    def condition(self, kind: str) -> Object:
        return next(c for c in self.deployment["status"]["conditions"] if c["type"] == kind)


int_or_percent = st.one_of(st.integers(0, 3), st.sampled_from(["0%", "25%", "50%", "100%"]))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 8), int_or_percent, int_or_percent)
def test_a_rollout_keeps_its_bounds_at_every_step_and_ends(replicas: int, surge: Any, unavailable: Any) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    cluster = Cluster(deployment(replicas, strategy={"type": "RollingUpdate", "rollingUpdate": rolling}))
    cluster.settle()
    cluster.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "b"
    bounds = resolve_bounds(replicas, rolling)

    def check(c: Cluster) -> None:
        total = sum(rs["spec"]["replicas"] for rs in c.sets)
        available = sum(min(rs["status"].get("availableReplicas", 0), rs["spec"]["replicas"]) for rs in c.sets)
        assert total <= replicas + bounds.surge
        assert available >= replicas - bounds.unavailable

    cluster.settle(check)
    assert {
        rs["spec"]["template"]["spec"]["containers"][0]["image"]: rs["spec"]["replicas"] for rs in cluster.sets
    } == {
        "a": 0,
        "b": replicas,
    }


def test_pods_that_are_going_already_are_not_given_up_again() -> None:
    # Three of twelve are gone, which the old set's status does not say yet.
    new, old = Set("new", spec=3, existing=3, available=3), Set("old", spec=9, existing=12, available=12)
    assert compute_old_sizes(new, [old], Bounds(12, 3, 3)) == {"old": 6}


sizes_and_statuses = st.tuples(st.integers(0, 6), st.integers(0, 9))


@given(sizes_and_statuses, st.lists(sizes_and_statuses, min_size=1, max_size=3), st.integers(0, 3), st.integers(0, 3))
def test_no_status_however_old_makes_a_rollout_give_up_too_much(
    new: tuple[int, int], old: list[tuple[int, int]], surge: int, unavailable: int
) -> None:
    first = Set("new", new[0], new[1], new[1])
    others = [Set(f"old{n}", spec, told, told) for n, (spec, told) in enumerate(old)]
    sizes = compute_old_sizes(first, others, Bounds(6, surge, unavailable))
    before = sum(min(s.spec, s.available) for s in (first, *others))
    after = sum(min(sizes.get(s.name, s.spec), s.spec, s.available) for s in (first, *others))
    assert after >= min(before, 6 - unavailable)
    assert all(0 <= size < next(s.spec for s in others if s.name == name) for name, size in sizes.items())


def test_a_first_rollout_is_named_numbered_and_reported() -> None:
    cluster = Cluster(deployment())
    cluster.step()
    (rs,) = cluster.sets
    hashed = rs["metadata"]["labels"][HASH_LABEL]
    assert rs["metadata"]["name"] == f"web-{hashed}"
    assert rs["spec"]["selector"]["matchLabels"] == {"app": "web", HASH_LABEL: hashed}
    assert rs["metadata"]["annotations"] == {
        "team": "x",
        REVISION: "1",
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
    }
    assert cluster.condition("Progressing")["reason"] == "NewReplicaSetCreated"
    assert cluster.condition("Available")["status"] == "False"
    cluster.settle()
    status = cluster.deployment["status"]
    assert (status["replicas"], status["updatedReplicas"], status["availableReplicas"]) == (3, 3, 3)
    assert cluster.condition("Progressing")["reason"] == "NewReplicaSetAvailable"
    assert cluster.condition("Available")["status"] == "True"
    assert cluster.deployment["metadata"]["annotations"][REVISION] == "1"


def test_going_back_reuses_the_old_replica_set_under_a_new_number() -> None:
    cluster = Cluster(deployment())
    cluster.settle()
    for image in ("b", "a"):
        cluster.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image
        cluster.settle()
    assert len(cluster.sets) == 2
    back = next(rs for rs in cluster.sets if rs["spec"]["replicas"] == 3)
    assert back["spec"]["template"]["spec"]["containers"][0]["image"] == "a"
    assert back["metadata"]["annotations"][REVISION] == "3"
    assert back["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"
    assert cluster.deployment["metadata"]["annotations"][REVISION] == "3"


def test_recreate_waits_until_every_old_pod_is_gone() -> None:
    cluster = Cluster(deployment(2, strategy={"type": "Recreate"}))
    cluster.settle()
    cluster.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "b"

    def check(c: Cluster) -> None:
        running = {
            rs["spec"]["template"]["spec"]["containers"][0]["image"] for rs in c.sets if rs["status"].get("replicas")
        }
        assert len(running) <= 1

    cluster.settle(check)
    assert sum(rs["spec"]["replicas"] for rs in cluster.sets) == 2


def test_history_is_cut_to_its_limit() -> None:
    cluster = Cluster(deployment(1, revisionHistoryLimit=2))
    cluster.settle()
    for image in "bcdef":
        cluster.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image
        cluster.settle()
    assert len(cluster.sets) == 3


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    cluster = Cluster(deployment(2))
    cluster.settle()
    cluster.deployment["spec"] |= {"paused": True, "replicas": 4}
    cluster.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "b"
    cluster.settle()
    assert [rs["spec"]["replicas"] for rs in cluster.sets] == [4]
    assert cluster.condition("Progressing")["reason"] == "DeploymentPaused"


def test_no_progress_until_the_deadline_is_said() -> None:
    cluster = Cluster(deployment(1, progressDeadlineSeconds=10))
    cluster.step()
    for rs in cluster.sets:
        rs["status"] = {"replicas": 1, "observedGeneration": 1}
    for _ in range(3):
        step = compute_deployment(cluster.deployment, cluster.sets, 0, cluster.now_s)
        cluster.deployment["status"] = step.status
    assert step.recheck_in_s is not None
    late = compute_deployment(cluster.deployment, cluster.sets, 0, cluster.now_s + 60)
    reasons = {c["type"]: c["reason"] for c in late.status["conditions"]}
    assert reasons["Progressing"] == "ProgressDeadlineExceeded"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 30), st.integers(0, 3))
def test_proportional_scaling_moves_to_the_allowed_total(sizes: list[int], desired: int, surge: int) -> None:
    sets = [Set(f"s{i}", n, n, n, float(i)) for i, n in enumerate(sizes)]
    before = {s.name: sum(sizes) for s in sets}
    result = {s.name: s.spec for s in sets} | compute_proportional(sets, desired, surge, before)
    allowed = desired + surge if desired else 0
    assert all(n >= 0 for n in result.values())
    # Shrinking may leave a rest when every share rounds to nothing and the first set cannot carry it: the rollout does.
    assert sum(result.values()) == allowed or sum(sizes) >= sum(result.values()) > allowed


def test_percentages_round_as_the_deployment_controller_does() -> None:
    assert resolve_count("25%", 10, up=True) == 3 and resolve_count("25%", 10, up=False) == 2
    assert resolve_bounds(1, {"maxSurge": "0%", "maxUnavailable": "25%"}).unavailable == 1


def test_scaling_a_finished_rollout_is_no_progress_of_one() -> None:
    cluster = Cluster(deployment(2))
    cluster.settle()
    cluster.deployment["spec"]["replicas"] = 5
    seen = set()
    cluster.settle(lambda c: seen.add(c.condition("Progressing")["reason"]))
    assert seen == {"NewReplicaSetAvailable"}


def test_pausing_and_resuming_are_told_and_do_not_count_as_progress() -> None:
    cluster = Cluster(deployment(2))
    cluster.settle()
    cluster.deployment["spec"]["paused"] = True
    cluster.step()
    assert cluster.condition("Progressing")["reason"] == "DeploymentPaused"
    del cluster.deployment["spec"]["paused"]
    cluster.step()
    assert cluster.condition("Progressing")["reason"] == "DeploymentResumed"
    cluster.settle()
    assert cluster.condition("Progressing")["reason"] == "NewReplicaSetAvailable"


def test_a_failure_of_the_replica_set_is_the_deployments() -> None:
    cluster = Cluster(deployment(2))
    cluster.settle()
    failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}
    cluster.sets[0]["status"]["conditions"] = [failed | {"lastTransitionTime": "2023-11-14T22:13:20Z"}]
    step = compute_deployment(cluster.deployment, cluster.sets, 0, cluster.now_s)
    told = {c["type"]: c.get("message") for c in step.status["conditions"]}
    assert told["ReplicaFailure"] == "quota"
    cluster.deployment["status"] = step.status
    cluster.sets[0]["status"]["conditions"] = []
    step = compute_deployment(cluster.deployment, cluster.sets, 0, cluster.now_s)
    assert {c["type"] for c in step.status["conditions"]} == {"Available", "Progressing"}


def test_annotations_reach_the_new_set_and_history_of_revisions_is_kept() -> None:
    cluster = Cluster(deployment(1))
    cluster.settle()
    cluster.deployment["metadata"]["annotations"] |= {
        "kubernetes.io/change-cause": "why", "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }  # fmt: skip
    cluster.settle()
    annotations = cluster.sets[0]["metadata"]["annotations"]
    assert annotations["kubernetes.io/change-cause"] == "why"
    assert "kubectl.kubernetes.io/last-applied-configuration" not in annotations


def test_recreating_an_old_template_waits_for_the_pods_between() -> None:
    cluster = Cluster(deployment(2, strategy={"type": "Recreate"}))
    cluster.settle()
    for image in ("b", "a"):
        cluster.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image
        step = compute_deployment(cluster.deployment, cluster.sets, 2, cluster.now_s)
        assert step.create is None
        assert all((p.get("spec") or {}).get("replicas", 0) == 0 for p in step.update.values())
        cluster.settle()
    assert sorted(rs["spec"]["replicas"] for rs in cluster.sets) == [0, 2]
