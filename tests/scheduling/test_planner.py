"""The planner: objects in, verdicts out."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from fairlead.kube.objects.devices import AllocationResult
from fairlead.scheduling import planner as planner_module
from fairlead.scheduling.verdict import Because, Cleared, Placed, Refused
from scheduling.planner_objects import (
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


def nodes_of(verdicts) -> dict[str, str]:
    return {a.pod.name: a.node for v in verdicts if isinstance(v, Placed) for a in v.assignments}


def bind(planner, verdicts) -> None:
    """What the API shows once verdicts are written."""
    for verdict in verdicts:
        if not isinstance(verdict, Placed):
            continue
        for each in verdict.assignments:
            for name, allocation in each.allocations.items():
                stored = planner.intake.claims[each.pod.namespace, name]
                planner.see(replace(stored, status=replace(stored.status, allocation=allocation)))
            stored = planner.roster.members[each.pod.uid].pod
            planner.see(replace(stored, spec=replace(stored.spec, node_name=each.node)))


def test_what_was_decided_counts_for_the_next_decision():
    planner = planner_with(node("a", cpu="2"), node("b", cpu="2"), *(pod(f"p{i}") for i in range(5)))
    verdicts = decide_all(planner)
    assert sorted(nodes_of(verdicts).values()) == ["a", "a", "b", "b"]
    (refused,) = [v for v in verdicts if isinstance(v, Refused)]
    assert refused.explanation.because is Because.NODES
    assert refused.explanation.sentence == "0/2 nodes are available: 2 Insufficient cpu."


def test_a_refused_pod_is_told_once_and_placed_when_somebody_leaves():
    planner = planner_with(node("a", cpu="1"), pod("first", bound="a"), pod("second"))
    assert len(decide_all(planner)) == 1
    assert decide_all(planner) == []
    planner.lose(pod("first", bound="a"))
    assert nodes_of(decide_all(planner, NOW_S + 30)) == {"second": "a"}


def test_a_refused_pod_is_left_alone_for_a_moment_though_others_leave():
    planner = planner_with(node("a", cpu="1"), pod("first", bound="a"), pod("second"))
    decide_all(planner)
    planner.lose(pod("first", bound="a"))
    assert decide_all(planner, NOW_S + 0.1) == []
    due_s = planner.next_s()
    assert due_s is not None and NOW_S < due_s <= NOW_S + 1.0
    assert nodes_of(decide_all(planner, due_s)) == {"second": "a"}


def test_a_clock_that_is_set_back_does_not_keep_a_pod_waiting():
    planner = planner_with(node("a", cpu="1"), pod("first", bound="a"), pod("second"))
    decide_all(planner)
    planner.lose(pod("first", bound="a"))
    assert nodes_of(decide_all(planner, NOW_S - 86_400)) == {"second": "a"}


def test_pods_of_other_schedulers_count_and_are_not_placed():
    planner = planner_with(
        node("a", cpu="1"), pod("theirs", bound="a", scheduler="default-scheduler"),
        pod("waits", scheduler="default-scheduler"), pod("ours"),
    )  # fmt: skip
    verdicts = decide_all(planner)
    assert [v.gang.name for v in verdicts] == ["ours"]
    assert isinstance(verdicts[0], Refused)


def test_devices_come_with_the_node():
    planner = planner_with(gpu_class(), node("a"), node("b"), gpus("b", 2), claim("p", 2), pod("p", devices=True))
    (verdict,) = decide_all(planner)
    assert isinstance(verdict, Placed)
    assert verdict.assignments[0].node == "b"
    results = verdict.assignments[0].allocations["p-gpus"].devices.results
    assert sorted(r.device for r in results) == ["gpu-0", "gpu-1"]


def test_objects_may_come_in_any_order():
    objects = [pod("p", devices=True), claim("p", 2), gpus("b", 2), node("b"), gpu_class()]
    for turn in range(len(objects)):
        planner = planner_with(*objects[turn:], *objects[:turn])
        assert nodes_of(decide_all(planner)) == {"p": "b"}


def test_a_pod_waits_for_its_claim_and_says_so():
    planner = planner_with(gpu_class(), node("b"), gpus("b", 2), pod("p", devices=True))
    (verdict,) = decide_all(planner)
    assert verdict.explanation.because is Because.GATE
    assert "p-gpus" in verdict.explanation.sentence
    planner.see(claim("p"))
    assert nodes_of(decide_all(planner)) == {"p": "b"}


def test_a_claim_that_somebody_else_allocates_lets_its_pod_go_there():
    mine = claim("mine", shared=True)
    planner = planner_with(node("a"), node("b"), mine, pod("p", shared_claim="mine"))
    (refused,) = decide_all(planner)
    assert refused.explanation.because is Because.CLAIM
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}
    allocation = msgspec.convert({"nodeSelector": {"nodeSelectorTerms": [term]}}, AllocationResult)
    planner.see(replace(mine, status=replace(mine.status, allocation=allocation)))
    assert nodes_of(decide_all(planner, NOW_S + 20)) == {"p": "b"}


def test_what_could_not_be_written_is_decided_anew():
    planner = planner_with(gpu_class(), node("a"), gpus("a", 1), claim("p"), pod("p", devices=True))
    (first,) = decide_all(planner)
    assert decide_all(planner) == []
    planner.failed(["pod-default-p"], NOW_S)
    (second,) = decide_all(planner, NOW_S + 2)
    assert second.assignments[0].allocations == first.assignments[0].allocations


def test_what_is_written_is_not_taken_back():
    planner = planner_with(gpu_class(), node("a"), gpus("a", 1), claim("p"), pod("p", devices=True))
    verdicts = decide_all(planner)
    bind(planner, verdicts)
    planner.failed(["pod-default-p"], NOW_S)
    assert decide_all(planner, NOW_S + 2) == []
    assert "pod-default-p" in planner.fleet.pods


def test_a_gang_waits_until_it_is_whole_and_is_placed_whole():
    pods = gang_of("g", 4, cpu="2")
    planner = planner_with(node("a", cpu="4"), node("b", cpu="4"), *pods[:3])
    (verdict,) = decide_all(planner)
    assert "waits for 1 more pod" in verdict.explanation.sentence
    planner.see(pods[3])
    (verdict,) = decide_all(planner)
    assert isinstance(verdict, Placed)
    assert len(verdict.assignments) == 4


def test_nothing_of_a_gang_that_does_not_fit_is_held():
    planner = planner_with(node("a", cpu="4"), *gang_of("g", 5), *(pod(f"p{i}") for i in range(4)))
    verdicts = decide_all(planner)
    assert set(nodes_of(verdicts)) == {"p0", "p1", "p2", "p3"}
    assert [v.gang.name for v in verdicts if isinstance(v, Refused)] == ["g"]


def test_gangs_that_are_alike_are_refused_without_looking_again(monkeypatch):
    looked = []
    place = planner_module.place_gang
    monkeypatch.setattr(
        planner_module, "place_gang", lambda o, gang, limits: looked.append(gang) or place(o, gang, limits)
    )
    planner = planner_with(node("a", cpu="4"), *(p for i in range(5) for p in gang_of(f"g{i}", 5)), *gang_of("h", 6))
    verdicts = decide_all(planner)
    assert len(verdicts) == 6
    assert all(isinstance(v, Refused) for v in verdicts)
    assert [gang.name for gang in looked] == ["g0", "h"]
    assert verdicts[1].explanation.pod == "default/g1-0"
    planner.see(node("b", cpu="8"))
    assert len(nodes_of(decide_all(planner, NOW_S + 60))) == 10


def test_members_beyond_the_minimum_come_when_there_is_room():
    planner = planner_with(node("a", cpu="3"), *gang_of("g", 5, minimum=2))
    assert len(nodes_of(decide_all(planner))) == 3
    planner.see(node("b", cpu="8"))
    verdicts = decide_all(planner, NOW_S + 60)
    assert set(nodes_of(verdicts).values()) == {"b"}
    assert len(nodes_of(verdicts)) == 2


def test_a_queue_never_has_more_than_its_limit():
    labels = {"fairlead.dev/queue": "small"}
    planner = planner_with(
        node("a"), queue("small", cpu={"limit": "2"}), *(pod(f"p{i}", labels=labels) for i in range(3))
    )
    verdicts = decide_all(planner)
    assert len(nodes_of(verdicts)) == 2
    (refused,) = [v for v in verdicts if isinstance(v, Refused)]
    assert refused.explanation.because is Because.QUOTA
    assert "queue small" in refused.explanation.sentence


def test_a_gang_gets_what_it_needs_where_the_limit_does_not_let_all_of_it_in():
    gang = gang_of("g", 5, minimum=2, labels={"fairlead.dev/queue": "small"})
    planner = planner_with(node("a"), queue("small", cpu={"limit": "3"}), *gang)
    assert len(nodes_of(decide_all(planner))) == 3
    planner = planner_with(node("a"), queue("small", cpu={"limit": "1"}), *gang)
    (refused,) = decide_all(planner)
    assert "limit" in refused.explanation.sentence


def test_within_a_limit_the_lower_priority_leaves_too():
    labels = {"fairlead.dev/queue": "small"}
    low = [pod(f"low{i}", labels=labels, bound="a", priority=i) for i in range(3)]
    planner = planner_with(
        node("a"), queue("small", cpu={"limit": "3"}), *low, pod("high", cpu="2", labels=labels, priority=100)
    )
    (cleared,) = decide_all(planner)
    assert isinstance(cleared, Cleared)
    assert cleared.kind == "preemption"
    assert sorted(p.name for v in cleared.victims for p in v.pods) == ["low0", "low1"]
    planner.lose(low[0])
    assert nodes_of(decide_all(planner, NOW_S + 30)) == {}
    planner.lose(low[1])
    assert nodes_of(decide_all(planner, NOW_S + 60)) == {"high": "a"}


def test_one_gang_that_brings_a_mistake_to_light_does_not_keep_the_others_waiting(monkeypatch):
    place = planner_module.place_gang

    def stumble(outlook, gang, limits):
        verdict = place(outlook, gang, limits)
        if gang.name == "bad":
            outlook.fleet.mark()
            raise KeyError("a mistake")
        return verdict

    monkeypatch.setattr(planner_module, "place_gang", stumble)
    planner = planner_with(node("a", cpu="2"), pod("bad", priority=9), pod("p"), pod("q"))
    verdicts = decide_all(planner)
    assert set(nodes_of(verdicts)) == {"p", "q"}
    (refused,) = [v for v in verdicts if isinstance(v, Refused)]
    assert "KeyError" in refused.explanation.sentence


def test_where_many_wait_not_all_are_offered_again_with_every_event():
    planner = planner_with(node("a", cpu="1"), pod("there", bound="a"), *(pod(f"p{i:03}") for i in range(400)))
    assert len(decide_all(planner)) == 400
    planner.lose(pod("there", bound="a"))
    assert nodes_of(decide_all(planner, NOW_S + 20)) == {"p000": "a"}
    planner.lose(pod("p000"))
    assert decide_all(planner, NOW_S + 20.01) == []
    due_s = planner.next_s()
    assert due_s is not None and NOW_S + 20.01 < due_s <= NOW_S + 21
    assert len(nodes_of(decide_all(planner, NOW_S + 40))) == 1


def test_the_lower_priority_leaves_for_the_higher_and_its_place_is_kept():
    planner = planner_with(
        node("a", cpu="2"), pod("low", cpu="2", bound="a", priority=0), pod("high", cpu="2", priority=100),
        pod("other", cpu="2", priority=50),
    )  # fmt: skip
    verdicts = decide_all(planner)
    (cleared,) = [v for v in verdicts if isinstance(v, Cleared)]
    assert cleared.gang.name == "high"
    assert [v.pods[0].name for v in cleared.victims] == ["low"]
    assert cleared.nominations == {"pod-default-high": "a"}
    planner.lose(pod("low", cpu="2", bound="a"))
    assert nodes_of(decide_all(planner, NOW_S + 60)) == {"high": "a"}


def test_the_place_of_a_gang_that_is_gone_falls_to_others():
    planner = planner_with(
        node("a", cpu="2"), pod("low", cpu="2", bound="a", priority=0), pod("high", cpu="2", priority=100),
        pod("other", cpu="2", priority=50),
    )  # fmt: skip
    decide_all(planner)
    planner.lose(pod("low", cpu="2", bound="a"))
    planner.lose(pod("high", cpu="2"))
    assert nodes_of(decide_all(planner, NOW_S + 60)) == {"other": "a"}


def test_a_queue_takes_back_what_another_borrows():
    mine, yours = {"fairlead.dev/queue": "mine"}, {"fairlead.dev/queue": "yours"}
    planner = planner_with(
        node("a", cpu="4"), queue("mine", cpu={"quota": "2"}), queue("yours", cpu={"quota": "2"}),
        *(pod(f"y{i}", labels=yours, bound="a") for i in range(4)), *(pod(f"m{i}", labels=mine) for i in range(3)),
    )  # fmt: skip
    verdicts = decide_all(planner)
    cleared = [v for v in verdicts if isinstance(v, Cleared)]
    assert {c.gang.name for c in cleared} == {"m0", "m1"}
    assert {c.kind for c in cleared} == {"reclaim"}
    assert len({p.uid for c in cleared for v in c.victims for p in v.pods}) == 2
    (refused,) = [v for v in verdicts if isinstance(v, Refused)]
    assert refused.gang.name == "m2"
    assert refused.explanation.held_back


def test_asking_changes_nothing():
    planner = planner_with(gpu_class(), node("a"), gpus("a", 4), claim("p", 3), claim("q", 3), pod("p", devices=True))
    planner.see(pod("q", devices=True))
    (gang,) = planner.find("default", "q")
    assert isinstance(planner.verdict_of(gang, NOW_S), Placed)
    assert isinstance(planner.verdict_of(gang, NOW_S), Placed)
    assert set(nodes_of(decide_all(planner))) == {"p"}
    (gang,) = planner.find("default", "q")
    told = planner.verdict_of(gang, NOW_S)
    assert isinstance(told, Refused)
    assert told.explanation.because is Because.DEVICES


def test_a_pod_that_cannot_be_read_says_what_is_wrong():
    planner = planner_with(node("a"), pod("p", cpu="many"))
    (verdict,) = decide_all(planner)
    assert verdict.explanation.because is Because.GATE
    assert "default/p" in verdict.explanation.sentence


def test_a_node_that_comes_back_has_its_pods():
    planner = planner_with(node("a", cpu="2"), pod("p", cpu="2", bound="a"))
    planner.lose(node("a"))
    assert planner.fleet.pods == {}
    planner.see(node("a", cpu="2"))
    planner.see(pod("q"))
    (verdict,) = decide_all(planner)
    assert isinstance(verdict, Refused)


def test_a_row_that_a_pod_left_on_trial_is_nobody_elses():
    planner = planner_with(node("a", cpu="2"), pod("p", cpu="2", bound="a"))
    fleet = planner.fleet
    row = fleet.row_of["a"]
    fleet.remove_node("a")
    mark = fleet.mark()
    fleet.lift("pod-default-p")
    planner.see(node("b", cpu="2"))
    fleet.undo(mark)
    assert fleet.pods["pod-default-p"].row == row != fleet.row_of["b"]


def test_a_pod_and_a_group_of_one_name_do_not_mix():
    planner = planner_with(node("a", cpu="4"), pod("g"), *gang_of("g", 2))
    assert set(nodes_of(decide_all(planner))) == {"g", "g-0", "g-1"}


def test_kinds_that_mean_nothing_here_are_refused():
    planner = planner_with()
    with pytest.raises(TypeError, match="ConfigMap"):
        planner.see({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})
    with pytest.raises(TypeError, match="int"):
        planner.see(3)


def test_a_shared_claim_keeps_its_users_together():
    shared = claim("both", 2, shared=True)
    planner = planner_with(
        gpu_class(), node("a", cpu="1"), node("b", cpu="2"), gpus("a", 2), gpus("b", 2), shared,
        pod("p", shared_claim="both"), pod("q", shared_claim="both"),
    )  # fmt: skip
    verdicts = decide_all(planner)
    bind(planner, verdicts)
    assert len(set(nodes_of(verdicts).values())) == 1 or any(isinstance(v, Refused) for v in verdicts)
    held = [s.allocation for s in planner.fleet.claims.values() if s.allocation is not None]
    assert len(held) == 1
    assert msgspec.to_builtins(held[0])["devices"]["results"]
