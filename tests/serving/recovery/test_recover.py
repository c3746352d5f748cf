"""What is done about each cause: at once, after a replacement, in place, elsewhere, or said with a reason."""

import pytest

from fairlead.api.model_service import RecoveryRecord
from fairlead.clock import format_time
from fairlead.serving.actions import Delete, RestartMember
from fairlead.serving.observed import DeviceTrouble, EngineView
from fairlead.serving.recovery.causes import CAUSES
from fairlead.serving.recovery.ladder import Act, Hold
from fairlead.serving.recovery.memory import Memory, record
from serving.recovery.fleet import (
    NOW_S,
    fleet,
    gang,
    look,
    member,
    node,
    outcome_of,
    replica,
    unready,
    with_member,
)  # fmt: skip


def remembered(*entries):
    """(seconds ago, replica, cause, deed, node)."""
    return Memory(
        tuple(record(NOW_S - ago, name, "unified", cause, deed, "", at) for ago, name, cause, deed, at in entries)
    )


def crashing(restarts=1, **fields):
    said = {"waiting": "CrashLoopBackOff", "terminated": "Error", "exit_code": 1, "restarts": restarts, **fields}
    return replica(members=(unready(**said),))


def hung(seconds=130):
    view = EngineView(in_flight=2, tokens_total=9, seen_s=NOW_S, stalled_s=NOW_S - seconds)
    return {"uid-a-0": view}


def test_a_healthy_fleet_is_left_alone():
    seen = look(fleet(4), nodes=[node(f"node-w-{i}") for i in range(4)])
    assert not seen.step.actions and not seen.findings and not seen.records


def test_a_node_that_is_gone_frees_its_replica_at_once_and_without_budget():
    seen = look(fleet(4, replica()), nodes=[node("node-a-0", gone=True)], budget=0)
    assert seen.step.actions == (Delete("a-0", "NodeGone: a-0: node node-a-0 is no more", force=True),)
    assert seen.records == (
        RecoveryRecord(
            time=format_time(NOW_S), replica="a-0", cause="NodeGone", action="Replaced",
            message="a-0: node node-a-0 is no more", node="node-a-0", role="unified",
        ),
    )  # fmt: skip


def test_a_silent_node_is_lost_after_its_time():
    early = look(fleet(4, replica()), nodes=[node("node-a-0", silent_s=39, ready=False)])
    assert not early.findings and early.step.again_s == pytest.approx(1)
    late = look(fleet(4, replica()), nodes=[node("node-a-0", silent_s=41, ready=False)])
    assert late.step.actions[0].force and "silent for 41 s" in late.step.reason


def test_pods_that_hang_on_a_lost_node_are_let_go():
    stuck = replica(members=(member(deleting=True),), draining_s=NOW_S - 5)
    seen = look(fleet(4, stuck), nodes=[node("node-a-0", silent_s=50)], budget=0)
    assert seen.step.actions[0] == Delete("a-0", "NodeLost: a-0: node node-a-0 has been silent for 50 s", True)
    assert not seen.records


@pytest.mark.parametrize(
    "nodes, devices, cause",
    [
        ([node("node-a-0", cordoned=True, reason="spec.unschedulable")], [], "NodeDraining"),
        ([node("node-a-0", ready=False, unready_s=50)], [], "NodeNotReady"),
        ([], [DeviceTrouble("a-0", "gpu.example.com/n/gpu-0", "NoSchedule", "NvlinkDown")], "DeviceDegraded"),
        ([], [DeviceTrouble("a-0", "gpu.example.com/n/gpu-0", "", "health Unhealthy")], "DeviceUnhealthy"),
    ],
)
def test_what_still_serves_is_replaced_before_it_leaves(nodes, devices, cause):
    seen = look(fleet(4, replica()), nodes=nodes, devices=devices)
    assert not seen.step.actions
    assert seen.snapshot.replicas[0].broken.startswith(cause)
    assert [(r.cause, r.action) for r in seen.records] == [(cause, "Draining")]
    # The next look knows of it: no second record, and it still waits for its replacement.
    again = look(fleet(4, replica()), seen.memory, nodes=nodes, devices=devices)
    assert again.snapshot.replicas[0].broken and not again.records


def test_one_order_to_leave_is_enough_whatever_else_is_found():
    degraded = DeviceTrouble("a-0", "npu.furiosa.ai/n/npu4", "NoSchedule", "taint x")
    first = look(fleet(4, replica()), devices=[degraded])
    both = [degraded, DeviceTrouble("a-0", "furiosa.ai/npu=npu4", "", "health Unhealthy")]
    second = look(fleet(4, replica()), first.memory, devices=both)
    assert second.snapshot.replicas[0].broken and not second.records
    # A later replica of that name is another one.
    anew = with_member(replica(), created_s=NOW_S + 50, scheduled_s=NOW_S + 50, started_s=NOW_S + 50)
    third = look(fleet(4, anew), first.memory, devices=[degraded], now_s=NOW_S + 100)
    assert [r.action for r in third.records] == ["Draining"]


def test_what_serves_nothing_does_not_wait_for_its_replacement():
    seen = look(fleet(4, replica(members=(unready(),))), nodes=[node("node-a-0", cordoned=True)])
    assert isinstance(seen.step.actions[0], Delete)
    busy = replica(members=(unready(),), in_flight=1)
    assert look(fleet(4, busy), nodes=[node("node-a-0", cordoned=True)]).snapshot.replicas[0].broken


def test_a_failed_device_costs_the_replica_at_once():
    trouble = DeviceTrouble("a-0", "npu.furiosa.ai/rngd-0/npu3", "NoExecute", "DeadCard")
    seen = look(fleet(4, gang()), devices=[trouble])
    assert seen.step.actions == (
        Delete("a-0", "DeviceFailed: device npu.furiosa.ai/rngd-0/npu3: DeadCard (NoExecute)"),
    )


def test_one_pod_less_costs_the_gang_or_that_pod_alone():
    lacking = gang(changed={1: None})
    assert look(fleet(4, lacking)).step.actions == (
        Delete("a-0", "MemberLost: 1 of 2 pods is gone, without which no other works"),
    )
    assert not look(fleet(4, lacking), mode="Member").step.actions
    ended = gang(changed={1: {"failed": True, "ready": False, "terminated": "Evicted"}})
    assert look(fleet(4, ended)).step.actions[0].replica == "a-0"
    only = look(fleet(4, ended), mode="Member").step.actions[0]
    assert only == RestartMember("a-0", "a-0-1", "PodEnded: pod a-0-1 has ended: Evicted")


def test_pods_that_wait_for_a_place_together_are_no_loss():
    none_yet = gang(changed={0: {"node": "", "ready": False, "scheduled_s": None, "started_s": None}, 1: None})
    assert not look(fleet(4, none_yet)).findings


def test_a_member_that_starts_again_costs_the_gang_unless_the_engine_came_up_after_it():
    ended = {"restarts": 1, "started_s": NOW_S - 5, "terminated": "Error", "exit_code": 1}
    assert look(fleet(4, gang(changed={1: ended}))).step.actions[0].reason.startswith("MemberRestarted: a-0-1 started")
    early = {**ended, "started_s": NOW_S - 950}
    assert not look(fleet(4, gang(changed={1: early}))).findings
    alone = look(fleet(4, gang(changed={1: ended})), mode="Member")
    assert not alone.findings


def test_a_gang_whose_model_is_still_fetched_is_not_torn_down():
    fetching = {
        "ready": False, "started_s": None, "restarts": 1, "waiting": "CrashLoopBackOff", "container": "fetch-model",
        "terminated": "Error", "exit_code": 1, "message": "Unreachable: registry.example.com does not answer",
    }  # fmt: skip
    held = outcome_of(look(fleet(4, gang(changed={1: fetching}))))
    assert held == Hold("NodeRestarts", "its node starts it again: 1 of 3 restarts before it is moved")


def test_a_hung_engine_is_made_anew_in_place_then_elsewhere_then_not_any_more():
    tired = fleet(4, replica())
    first = look(tired, engines=hung())
    assert outcome_of(first) == Act("Restarted")
    # It ends nothing in its grace period, and its devices are wanted.
    assert first.step.actions[0].grace_s == 5
    assert not look(tired, engines=hung(100)).findings
    three = [(ago, f"a-{ago}", "EngineHung", "Restarted", "node-a-0") for ago in (900, 800, 700)]
    assert outcome_of(look(tired, remembered(*three), engines=hung())) == Act("Moved")
    elsewhere = [(ago, f"a-{ago}", "EngineHung", "Restarted", "node-b") for ago in (900, 800, 700)]
    assert outcome_of(look(tired, remembered(*elsewhere), engines=hung())) == Act("Restarted")
    moved = [(ago, f"a-{ago}", "EngineHung", "Moved", "node-b") for ago in (900, 800, 700, 600)]
    assert outcome_of(look(tired, remembered(*three, *moved), engines=hung())).why == "GaveUp"


def test_deeds_for_the_same_cause_come_ever_more_slowly():
    once = remembered((4, "a-9", "EngineHung", "Restarted", "node-a-0"))
    held = outcome_of(look(fleet(4, replica()), once, engines=hung()))
    assert (held.why, held.again_s) == ("Backoff", 6.0)
    twice = remembered(
        (90, "a-8", "EngineHung", "Restarted", "node-a-0"), (4, "a-9", "EngineHung", "Restarted", "node-a-0")
    )
    assert outcome_of(look(fleet(4, replica()), twice, engines=hung())).again_s == 16.0


def test_an_engine_hangs_only_by_what_it_did_since_it_started_and_was_seen_to_do():
    old = {"uid-a-0": EngineView(in_flight=2, seen_s=NOW_S - 990, stalled_s=NOW_S - 5000)}
    assert not look(fleet(4, replica()), engines=old).findings
    # The last look is a minute old: what happened since then is not known.
    late = {"uid-a-0": EngineView(in_flight=2, seen_s=NOW_S - 60, stalled_s=NOW_S - 170)}
    assert not look(fleet(4, replica()), engines=late).findings
    assert not look(fleet(4, replica()), engines=hung(), hang_s=0).findings


def test_a_port_that_takes_connections_and_never_answers_is_a_hang_and_one_that_is_out_of_reach_is_not():
    silent = EngineView(seen_s=NOW_S - 200, unreachable_s=NOW_S - 150, problem="no whole page within 1 s", accepts=True)
    assert outcome_of(look(fleet(4, replica()), engines={"uid-a-0": silent})) == Act("Restarted")
    away = EngineView(seen_s=NOW_S - 200, unreachable_s=NOW_S - 150, problem="no connection within 1 s")
    held = look(fleet(4, replica()), engines={"uid-a-0": away}).findings[0]
    assert held.symptom.cause.name == "EngineUnseen" and held.outcome.why == "Said"
    never = EngineView(unreachable_s=NOW_S - 500, accepts=True)
    assert not look(fleet(4, replica()), engines={"uid-a-0": never}).findings


def test_what_hangs_while_it_leaves_is_stopped():
    tired = replica(draining_s=NOW_S - 150)
    assert look(fleet(4, tired), engines=hung(), budget=0).step.actions[0].replica == "a-0"


def test_a_crash_loop_is_left_to_its_node_then_moved():
    assert outcome_of(look(fleet(4, crashing(3)))).why == "NodeRestarts"
    seen = look(fleet(4, crashing(4)))
    assert outcome_of(seen) == Act("Moved")
    assert seen.records[0].message == ("a-0: a container has been started 5 times and ends (Error, exit code 1)")


def test_between_two_starts_it_is_no_less_ill_and_gets_its_chance():
    running = replica(members=(unready(terminated="Error", exit_code=1, restarts=9, started_s=NOW_S - 2),))
    held = look(fleet(4, running)).findings[0]
    assert held.symptom.cause.name == "CrashLoop"
    assert held.outcome == Hold("NodeRestarts", "it has been started again and may yet become ready")
    # One of two waits and the other runs just now: both have it.
    other = replica("a-1", (unready("a-1", waiting="CrashLoopBackOff", terminated="Error", restarts=9),))
    assert outcome_of(look([running, other]), "a-1").why == "Common"


def test_out_of_memory_says_what_to_change_and_is_not_moved_for_a_limit():
    killed = crashing(5, terminated="OOMKilled", exit_code=137)
    seen = look(fleet(4, killed), memory_limit={"unified": "64Gi"}).findings[0]
    assert seen.outcome == Hold("Everywhere", "the limit is the same on every node: it is not moved")
    assert "it needs more than its memory limit of 64Gi: set resources.limits.memory to 80Gi" in seen.text
    # Without a limit it was the node's memory that was too little.
    free = look(fleet(4, killed)).findings[0]
    assert free.outcome == Act("Moved") and "set resources.requests.memory" in free.symptom.message
    cuda = crashing(5, message="torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
    device = look(fleet(4, cuda), memory_limit={"unified": "64Gi"}).findings[0]
    assert device.outcome.why == "Everywhere" and "lower kvCache.memoryPercent" in device.symptom.message


def pulling(seconds, reason="ImagePullBackOff", **fields):
    since = {"started_s": None, "scheduled_s": NOW_S - seconds, "waiting": reason, **fields}
    return replica(members=(unready(**since),))


def test_an_image_that_one_node_cannot_pull_is_tried_elsewhere():
    assert outcome_of(look(fleet(4, pulling(100)))).why == "NodeRestarts"
    assert outcome_of(look(fleet(4, pulling(301)))) == Act("Moved")
    assert outcome_of(look([pulling(301)])).why == "Everywhere"
    assert outcome_of(look(fleet(4, pulling(301, "InvalidImageName")))).why == "Said"


def test_a_full_disk_is_left_at_once():
    full = pulling(5, "ErrImagePull", message="write /var/lib/x: no space left on device")
    seen = look(fleet(4, full))
    assert outcome_of(seen) == Act("Moved") and seen.records[0].cause == "DiskFull"
    fetching = crashing(
        1, container="fetch-model", message="NoSpace: /models has 2 GiB left, the model has 8 GiB", started_s=None
    )
    assert outcome_of(look(fleet(4, fetching))) == Act("Moved")


def test_a_model_that_is_not_what_was_promised_is_said():
    wrong = crashing(
        9, container="fetch-model", message="WrongContent: sha256:ab has the digest sha256:cd", started_s=None
    )
    held = look(fleet(4, wrong)).findings[0]
    assert held.symptom.cause.name == "ModelRefused" and held.outcome.why == "Said"


def test_a_start_that_takes_too_long():
    slow = replica(members=(unready(started_s=NOW_S - 700, unready_s=NOW_S - 700),))
    assert outcome_of(look(fleet(4, slow), start_s=600)) == Act("Moved")
    said = look(fleet(4, slow), startup_s=600).findings[0]
    assert said.symptom.cause.name == "NeverReady" and said.outcome.why == "Said"
    # An engine that answers is up: making it anew would not make its probe right.
    answers = {"uid-a-0": EngineView(in_flight=0, seen_s=NOW_S)}
    wrong = look(fleet(4, slow), start_s=600, engines=answers).findings[0]
    assert wrong.symptom.cause.name == "NeverReady" and "the right page and port?" in wrong.text
    blinked = replica(members=(unready(unready_s=NOW_S - 3),))
    assert not look(fleet(4, blinked), start_s=600).findings


def test_no_place_is_told_in_the_schedulers_words():
    waits = unready(
        node="", scheduled_s=None, started_s=None, unschedulable="0/3 nodes are available: 3 Insufficient cpu"
    )
    seen = look(fleet(4, replica(members=(waits,)))).findings[0]
    assert seen.text.startswith("a-0 has no place: 0/3 nodes are available: 3 Insufficient cpu; ")


def test_what_most_replicas_have_is_not_cured_by_replacing_them():
    ill = [
        replica(f"a-{i}", (unready(f"a-{i}", waiting="CrashLoopBackOff", restarts=9, terminated="Error"),))
        for i in range(3)
    ]
    seen = look(fleet(4, *ill))
    assert not seen.step.actions
    assert "3 of 4 replicas of revision rev have it" in seen.findings[0].text
    two = look(fleet(4, *ill[:2]), budget=4)
    assert len(two.step.actions) == 2


def test_policy_none_says_and_does_nothing():
    seen = look(fleet(4, replica()), nodes=[node("node-a-0", gone=True)], mode="None")
    assert not seen.step.actions and outcome_of(seen).why == "PolicyNone"


def test_no_more_at_once_than_the_budget():
    nodes = [node(f"node-a-{i}", cordoned=True) for i in range(4)]
    drained = [replica(f"a-{i}") for i in range(4)]
    seen = look(drained, nodes=nodes, budget=2)
    assert [bool(r.broken) for r in seen.snapshot.replicas] == [True, True, False, False]
    assert "2 of role unified are being replaced already, and recovery.budget 2 allows 2" in seen.findings[3].text
    again = look(drained, seen.memory, nodes=nodes, budget=2, now_s=NOW_S + 30)
    assert [bool(r.broken) for r in again.snapshot.replicas] == [True, True, False, False]
    # The first has its replacement and leaves: the third may follow.
    left = [replica("a-0", draining_s=NOW_S + 40), *drained[1:], replica("b-0")]
    after = look(left, again.memory, nodes=nodes, budget=2, now_s=NOW_S + 50)
    assert [bool(r.broken) for r in after.snapshot.replicas] == [False, True, True, False, False]


def test_a_replacement_that_is_on_its_way_counts_and_one_that_is_ill_does_not():
    before = remembered((20, "a-7", "NodeLost", "Replaced", "node-x"))
    coming = replica("b-0", (unready("b-0"),))
    three = [replica(f"w-{i}") for i in range(2)]
    lost = [node("node-a-0", silent_s=60)]
    assert outcome_of(look([replica(), *three, coming], before, nodes=lost, budget=1)).why == "Budget"
    assert outcome_of(look([replica(), *three, replica("b-0")], before, nodes=lost, budget=1)) == Act("Replaced", True)
    both = [*lost, node("node-b-0", silent_s=60)]
    held = look([replica(), *three, coming], before, nodes=both, budget=1)
    assert len(held.step.actions) == 1


@pytest.mark.parametrize("cause", ["failed", "hung"])
def test_what_was_decided_and_not_done_is_done_without_a_second_record(cause):
    failed = [DeviceTrouble("a-0", "d/n/0", "NoExecute", "taint x")] if cause == "failed" else []
    engines = hung() if cause == "hung" else {}
    first = look(fleet(4, replica()), devices=failed, engines=engines, budget=1)
    # The controller died after it had written that down; another one goes on, also with all of the budget in use.
    second = look(fleet(4, replica()), first.memory, devices=failed, engines=engines, budget=1)
    assert second.step.actions == first.step.actions and not second.records
    # A later replica of the same name is another one, to which it happens for the second time.
    anew = with_member(replica(), created_s=NOW_S + 1)
    third = look(fleet(4, anew), first.memory, devices=failed, engines=engines, budget=1, now_s=NOW_S + 40)
    assert len(third.records) == 1


def test_memory_is_the_status_and_forgets():
    old = [(9_000 - i, f"o-{i}", "NodeLost", "Replaced", "n") for i in range(100)]
    kept = remembered(*old).with_records([], NOW_S)
    assert len(kept.records) == 10 and not kept.entries(NOW_S)
    new = [(3_000 - i, f"n-{i}", "NodeLost", "Replaced", "n") for i in range(100)]
    assert len(remembered(*old, *new).with_records([], NOW_S).records) == 64
    wrong = Memory((RecoveryRecord(time="yesterday", replica="a", cause="x", action="y"),))
    assert not wrong.entries(NOW_S)
    # A time in the future counts as now, or a clock that was set back would stop everything for so long.
    assert remembered((-500, "a", "NodeLost", "Moved", "n")).entries(NOW_S)[0].at_s == NOW_S


def test_causes_are_told_apart_by_their_names():
    assert len({c.name for c in CAUSES}) == len(CAUSES)
