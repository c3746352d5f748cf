"""The planner when things come late, go early, or fail in between: what random churn has found, one by one."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from fairlead.kube.objects import Job, Namespace, Pod
from fairlead.scheduling.verdict import Because, Cleared, Placed, Refused
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

DEVICES = f"{DRIVER}.deviceclass.resource.k8s.io/devices"


def nodes_of(verdicts) -> dict[str, str]:
    return {a.pod.name: a.node for v in verdicts if isinstance(v, Placed) for a in v.assignments}


def deleting(obj):
    return replace(obj, metadata=replace(obj.metadata, deletion_timestamp="2027-01-01T01:00:00Z"))


# Devices that are being written


def test_devices_of_a_pod_that_is_gone_are_nobody_elses_while_they_are_being_written():
    shared, other = claim("shared", shared=True), claim("other", shared=True)
    first, second = pod("first", shared_claim="shared"), pod("second", shared_claim="other")
    planner = planner_with(gpu_class(), node("a"), gpus("a", 1), shared, first)
    assert nodes_of(decide_all(planner)) == {"first": "a"}
    planner.lose(first)
    for each in (other, second):
        planner.see(each)
    assert nodes_of(decide_all(planner)) == {}
    # The write has failed as there was no pod any more, and the claim is as it was.
    planner.failed([first.metadata.uid], NOW_S)
    assert nodes_of(decide_all(planner, NOW_S + 30)) == {"second": "a"}


def test_a_claim_whose_devices_were_not_written_gets_others_with_its_next_user():
    shared = claim("shared", shared=True)
    first, second = pod("first", shared_claim="shared"), pod("second", shared_claim="shared")
    planner = planner_with(gpu_class(), node("a"), gpus("a", 1), shared, first)
    decide_all(planner)
    planner.see(second)
    assert nodes_of(decide_all(planner)) == {"second": "a"}
    planner.lose(first)
    planner.failed([first.metadata.uid], NOW_S)
    planner.failed([second.metadata.uid], NOW_S)
    (verdict,) = decide_all(planner, NOW_S + 30)
    assert isinstance(verdict, Placed)
    assert set(verdict.assignments[0].allocations) == {"shared"}


# Nodes that go


def test_a_pod_that_was_decided_for_a_node_that_is_gone_is_decided_anew_once_its_binding_has_failed():
    planner = planner_with(node("a"), pod("p"))
    decide_all(planner)
    planner.lose(node("a"))
    planner.see(node("b"))
    # Whether it was bound before the node went is not known yet.
    planner.see(pod("p", annotations={"example.com/note": "new"}))
    assert decide_all(planner, NOW_S + 30) == []
    planner.failed(["pod-default-p"], NOW_S)
    assert nodes_of(decide_all(planner, NOW_S + 60)) == {"p": "b"}


def test_members_on_a_node_that_is_gone_are_not_decided_twice():
    gang = gang_of("g", 2)
    planner = planner_with(node("a"), *gang)
    decide_all(planner)
    planner.lose(node("a"))
    planner.see(node("b"))
    planner.see(replace(gang[0], spec=replace(gang[0].spec, node_name="a")))
    assert decide_all(planner, NOW_S + 30) == []


def test_room_on_a_node_that_comes_back_is_not_held_for_ever():
    planner = planner_with(
        node("a", cpu="2"), pod("low", cpu="2", bound="a"), pod("high", cpu="2", priority=100),
    )  # fmt: skip
    (cleared,) = [v for v in decide_all(planner) if isinstance(v, Cleared)]
    planner.lose(node("a"))
    planner.lose(pod("low", cpu="2", bound="a"))
    planner.lose(pod("high", cpu="2"))
    decide_all(planner, NOW_S + 10)
    planner.see(node("a", cpu="2"))
    planner.see(pod("other", cpu="2"))
    assert cleared.gang.name == "high"
    assert nodes_of(decide_all(planner, NOW_S + 1000)) == {"other": "a"}


# Explanations


def test_asking_about_a_gang_for_which_room_is_held_leaves_the_room_held():
    low = pod("low", cpu="2", bound="a")
    planner = planner_with(node("a", cpu="2"), low, pod("high", cpu="2", priority=100))
    decide_all(planner)
    planner.lose(low)
    (gang,) = planner.find("default", "high")
    assert isinstance(planner.verdict_of(gang, NOW_S), Placed)
    planner.see(pod("between", cpu="2", priority=50))
    assert nodes_of(decide_all(planner, NOW_S + 60)) == {"high": "a"}
    planner.lose(pod("high", cpu="2", priority=100))
    assert nodes_of(decide_all(planner, NOW_S + 120)) == {"between": "a"}


# Gangs and queues that come late


def job(name: str, *, gang: bool) -> Job:
    annotations = {"fairlead.dev/gang": "true"} if gang else {}
    body = {
        "metadata": {"name": name, "namespace": "default", "uid": f"job-{name}", "annotations": annotations},
        "spec": {"parallelism": 2, "completions": 2},
    }
    return msgspec.convert(body, Job)


def pods_of_job(name: str, count: int) -> list[Pod]:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": f"job-{name}", "controller": True}
    made = []
    for i in range(count):
        body = msgspec.to_builtins(pod(f"{name}-{i}"))
        body["metadata"]["ownerReferences"] = [owner]
        made.append(msgspec.convert(body, Pod))
    return made


def test_pods_of_a_job_that_is_not_told_yet_wait_for_what_it_says():
    one, _ = pods_of_job("j", 2)
    planner = planner_with(node("a"), one)
    planner.intake.follow_jobs()
    (verdict,) = decide_all(planner)
    assert isinstance(verdict, Refused)
    assert "waits for Job default/j" in verdict.explanation.sentence
    planner.see(job("j", gang=True))
    (verdict,) = decide_all(planner)
    assert "waits for 1 more pod" in verdict.explanation.sentence


def test_pods_of_a_job_that_is_no_gang_go_one_by_one_once_it_is_told():
    planner = planner_with(node("a"), *pods_of_job("j", 2))
    planner.intake.follow_jobs()
    decide_all(planner)
    planner.see(job("j", gang=False))
    assert set(nodes_of(decide_all(planner, NOW_S + 30))) == {"j-0", "j-1"}


def test_pods_of_jobs_that_nobody_tells_of_go_one_by_one():
    planner = planner_with(node("a"), *pods_of_job("j", 2))
    assert set(nodes_of(decide_all(planner))) == {"j-0", "j-1"}


def test_devices_of_pods_that_were_told_before_their_claims_count_in_queues():
    labels = {"fairlead.dev/queue": "small"}
    limited = queue("small", **{DEVICES: {"limit": "2"}})
    bound = pod("old", devices=True, bound="a", labels=labels)
    given = claim("old", 2)
    planner = planner_with(gpu_class(), node("a"), gpus("a"), limited, bound, given)
    planner.see(claim("new", 1))
    planner.see(pod("new", devices=True, labels=labels))
    (refused,) = decide_all(planner)
    assert isinstance(refused, Refused)
    assert refused.explanation.because is Because.QUOTA


def test_a_namespace_that_is_gone_gives_its_gangs_no_queue():
    labels = {"fairlead.dev/queue": "q"}
    namespace = msgspec.convert({"metadata": {"name": "default", "labels": labels}}, Namespace)
    planner = planner_with(node("a"), namespace, pod("p", cpu="100"))
    decide_all(planner)
    assert [gang.queue for gang in planner.gangs.values()] == ["q"]
    planner.lose(namespace)
    assert [gang.queue for gang in planner.gangs.values()] == [""]


def test_a_gang_that_has_what_it_needs_is_not_placed_anew_with_nobody():
    gang = gang_of("g", 3, minimum=1, labels={"fairlead.dev/queue": "small"})
    planner = planner_with(node("a"), queue("small", cpu={"limit": "1"}), *gang)
    verdicts = decide_all(planner)
    assert all(v.assignments for v in verdicts if isinstance(v, Placed))
    assert len(nodes_of(verdicts)) == 1
    assert isinstance(verdicts[-1], Refused)
    assert verdicts[-1].explanation.because is Because.QUOTA


def test_a_gang_in_a_queue_that_got_queues_below_it_and_shares_no_resource_is_no_exception():
    labels = {"fairlead.dev/queue": "upper"}
    planner = planner_with(
        gpu_class(), node("a", cpu="1"), node("b", cpu="1"), gpus("b", 1), queue("upper", **{DEVICES: {"quota": "1"}}),
        claim("old", 1), pod("old", cpu="0", devices=True, bound="b", labels=labels),
    )  # fmt: skip
    decide_all(planner)
    below = queue("lower", cpu={"quota": "2"})
    below["spec"]["parent"] = "upper"
    planner.see(below)
    planner.see(pod("new", cpu="2", labels={"fairlead.dev/queue": "lower"}))
    (refused,) = decide_all(planner, NOW_S + 30)
    assert refused.explanation.because is Because.NODES


# Pods that keep apart


def apart(name: str, **extra) -> Pod:
    term = {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    return pod(name, labels={"app": "a"}, affinity=affinity, **extra)


def test_who_is_kept_off_by_pods_that_are_gone_is_told_right_on_nodes_that_came_since():
    keeps_off = apart("keeps-off", bound="a")
    plain = pod("plain", labels={"app": "a"}, devices=True)
    planner = planner_with(gpu_class(), node("a"), keeps_off, claim("plain"), plain)
    decide_all(planner)
    planner.lose(keeps_off)
    for name in ("b", "c"):
        planner.see(node(name))
    (refused,) = decide_all(planner, NOW_S + 30)
    assert "3 cannot allocate all claims" in refused.explanation.sentence


def test_nothing_is_said_of_a_gang_that_is_gone():
    gang = gang_of("g", 2)
    planner = planner_with(node("a"), gang[0], pod("p"), pod("q", schedulingGates=[{"name": "example.com/gate"}]))
    first = planner.decide(NOW_S)
    assert isinstance(first, Refused)
    planner.lose(gang[0])
    planner.lose(pod("q"))
    assert [v.gang.name for v in decide_all(planner)] == ["p"]


# What others place


def test_pods_of_other_schedulers_are_not_moved_as_where_they_would_go_is_not_known():
    small = {"cpu": "1", "bound": "a", "priority": 0}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": True}

    def with_owner(each: Pod) -> Pod:
        body = msgspec.to_builtins(each)
        body["metadata"]["ownerReferences"] = [owner]
        return msgspec.convert(body, Pod)

    for scheduler, kinds in (("fairlead", ["consolidation"]), ("default-scheduler", [])):
        small_one = with_owner(pod("small", scheduler=scheduler, **small))
        planner = planner_with(node("a", cpu="4"), node("b", cpu="2"), small_one, pod("large", cpu="4"))
        planner.see(pod("half", cpu="1", bound="b"))
        verdicts = decide_all(planner)
        assert [v.kind for v in verdicts if isinstance(v, Cleared)] == kinds


def test_a_limit_that_is_lowered_holds_at_once_even_if_the_next_round_is_later():
    labels = {"fairlead.dev/queue": "q"}
    planner = planner_with(node("a"), queue("q", cpu={"limit": "20"}), pod("first", labels=labels))
    assert nodes_of(decide_all(planner)) == {"first": "a"}
    planner.see(queue("q", cpu={"limit": "1"}))
    planner.see(pod("second", labels=labels))
    # The clock was set back: the last round seems to lie ahead.
    (refused,) = decide_all(planner, NOW_S - 5)
    assert refused.explanation.because is Because.QUOTA
