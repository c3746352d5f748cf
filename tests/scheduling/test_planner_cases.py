"""Decisions that depend on what was decided before: who was refused, for whom room is held, who was told to leave."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fairlead.clock import format_time
from fairlead.scheduling.verdict import Because, Cleared, Placed, Refused
from scheduling.planner_objects import NOW_S, decide_all, node, planner_with, pod, queue

MINE, YOURS, THEIRS = ({"fairlead.dev/queue": name} for name in ("mine", "yours", "theirs"))
SERVING, BATCH = ({"fairlead.dev/work": work} for work in ("serving", "batch"))


def nodes_of(verdicts) -> dict[str, str]:
    return {a.pod.name: a.node for v in verdicts if isinstance(v, Placed) for a in v.assignments}


def victims_of(verdicts) -> dict[str, list[str]]:
    return {v.gang.name: [p.name for each in v.victims for p in each.pods] for v in verdicts if isinstance(v, Cleared)}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_holds_nothing_of_its_queue(phase):
    ended = pod("ended", cpu="2", labels=MINE, bound="a")
    ended = replace(ended, status=replace(ended.status, phase=phase))
    planner = planner_with(node("a"), queue("mine", cpu={"limit": "2"}), ended, pod("new", cpu="2", labels=MINE))
    assert nodes_of(decide_all(planner)) == {"new": "a"}


def test_a_gang_is_asked_again_when_the_guarantee_of_its_victims_ends():
    yours = queue("yours", cpu={"quota": "2"})
    yours["spec"]["reclaimMinRuntimeSeconds"] = 600
    running = [pod(f"y{i}", labels=YOURS, bound="a") for i in range(4)]
    running = [replace(p, status=replace(p.status, start_time=format_time(NOW_S - 10))) for p in running]
    planner = planner_with(
        node("a", cpu="4"), queue("mine", cpu={"quota": "2"}), yours, *running, pod("m", labels=MINE)
    )
    (refused,) = decide_all(planner)
    assert "min-runtime" in refused.explanation.held_back[0]
    assert decide_all(planner, NOW_S + 580) == []
    due_s = planner.next_s()
    assert due_s == NOW_S + 590
    assert list(victims_of(decide_all(planner, due_s))) == ["m"]


def test_gangs_with_different_rights_are_not_refused_together():
    never = pod("a-never", cpu="2", priority=10, preemptionPolicy="Never")
    planner = planner_with(node("a", cpu="2"), pod("low", cpu="2", bound="a"), never, pod("b", cpu="2", priority=10))
    assert victims_of(decide_all(planner)) == {"b": ["low"]}
    planner = planner_with(
        node("a", cpu="2"), pod("low", cpu="2", bound="a", annotations=BATCH), pod("a-plain", cpu="2"),
        pod("b", cpu="2", annotations=SERVING),
    )  # fmt: skip
    assert victims_of(decide_all(planner)) == {"b": ["low"]}


def test_a_gang_gets_its_room_though_one_like_it_is_refused_before_it():
    planner = planner_with(node("a", cpu="2"), pod("low", cpu="2", bound="a"), pod("p1", cpu="2", priority=10))
    assert victims_of(decide_all(planner)) == {"p1": ["low"]}
    planner.see(pod("p0", cpu="2", priority=10))
    decide_all(planner, NOW_S + 3)
    planner.lose(pod("low", cpu="2", bound="a"))
    assert nodes_of(decide_all(planner, NOW_S + 20)) == {"p1": "a"}


def test_a_gang_for_which_room_is_held_is_asked_again_soon():
    planner = planner_with(node("a", cpu="2"), pod("low", cpu="2", bound="a"), pod("p", cpu="2", priority=10))
    decide_all(planner)
    for second in range(1, 60, 2):
        planner.see(node("a", cpu="2", labels={"second": str(second)}))
        decide_all(planner, NOW_S + second)
    planner.lose(pod("low", cpu="2", bound="a"))
    assert nodes_of(decide_all(planner, NOW_S + 62)) == {"p": "a"}


def test_room_on_a_node_that_is_gone_is_not_waited_for():
    planner = planner_with(
        node("a", cpu="2"), node("b", cpu="2"), pod("low-a", cpu="2", bound="a"),
        pod("low-b", cpu="2", bound="b", priority=1), pod("p", cpu="2", priority=10),
    )  # fmt: skip
    assert victims_of(decide_all(planner)) == {"p": ["low-a"]}
    planner.lose(node("a", cpu="2"))
    assert victims_of(decide_all(planner, NOW_S + 20)) == {"p": ["low-b"]}


def test_a_queue_takes_back_no_more_than_its_share_while_those_told_to_leave_are_still_there():
    planner = planner_with(
        node("a", cpu="8"), *(queue(name, cpu={"quota": "2"}) for name in ("mine", "yours", "theirs")),
        *(pod(f"y{i}", labels=YOURS, bound="a") for i in range(4)),
        *(pod(f"t{i}", labels=THEIRS, bound="a") for i in range(4)),
        *(pod(f"m{i}", labels=MINE) for i in range(4)),
    )  # fmt: skip
    assert set(victims_of(decide_all(planner))) == {"m0", "m1"}


def test_what_is_promised_counts_towards_the_limit_of_its_queue():
    planner = planner_with(
        node("a", cpu="2"), node("b", cpu="1"), queue("mine", cpu={"quota": "2", "limit": "2"}),
        queue("yours", cpu={"quota": "0"}), pod("y", cpu="2", labels=YOURS, bound="a"),
        pod("large", cpu="2", labels=MINE),
    )  # fmt: skip
    assert victims_of(decide_all(planner)) == {"large": ["y"]}
    planner.see(pod("small", cpu="1", labels=MINE))
    (refused,) = (v for v in decide_all(planner, NOW_S + 5) if v.gang.name == "small")
    assert refused.explanation.because is Because.QUOTA


def test_room_that_another_queue_has_taken_back_is_not_had_by_priority():
    planner = planner_with(
        node("a", cpu="4"), queue("mine", cpu={"quota": "2"}), queue("yours", cpu={"quota": "2"}),
        *(pod(f"y{i}", labels=YOURS, bound="a") for i in range(4)), pod("m", labels=MINE),
    )  # fmt: skip
    (gone,) = victims_of(decide_all(planner))["m"]
    planner.see(pod("urgent", labels=YOURS, priority=100, preemptionPolicy="Never"))
    planner.lose(pod(gone, labels=YOURS, bound="a"))
    assert nodes_of(decide_all(planner, NOW_S + 20)) == {"m": "a"}


def test_work_that_was_moved_away_does_not_come_back_to_the_same_place():
    planner = planner_with(
        node("a", cpu="4"), node("b", cpu="4"), pod("small-a", cpu="2", bound="a", priority=100),
        pod("small-b", cpu="2", bound="b", priority=100), pod("large", cpu="4"),
    )  # fmt: skip
    (cleared,) = (v for v in decide_all(planner) if isinstance(v, Cleared))
    assert cleared.kind == "consolidation"
    (moved,) = (p for each in cleared.victims for p in each.pods)
    planner.lose(pod(moved.name, cpu="2", bound=moved.node))
    planner.see(pod("small-again", cpu="2", priority=100, created="2027-01-01T00:00:00Z"))
    other = {"a": "b", "b": "a"}[moved.node]
    assert nodes_of(decide_all(planner, NOW_S + 20)) == {"small-again": other, "large": moved.node}


def test_a_pod_that_is_stuck_is_not_waited_for():
    going = pod("going", cpu="2", bound="a")
    late = replace(going, metadata=replace(going.metadata, deletion_timestamp=format_time(NOW_S - 300)))
    planner = planner_with(node("a", cpu="4"), late, pod("low", cpu="2", bound="a"), pod("high", cpu="2", priority=9))
    (cleared,) = decide_all(planner)
    assert [p.name for v in cleared.victims for p in v.pods] == ["low"]
    soon = replace(going, metadata=replace(going.metadata, deletion_timestamp=format_time(NOW_S + 30)))
    planner = planner_with(node("a", cpu="4"), soon, pod("low", cpu="2", bound="a"), pod("high", cpu="2", priority=9))
    (cleared,) = decide_all(planner)
    assert cleared.kind == "leaving"


def test_what_nobody_would_make_anew_is_not_moved():
    planner = planner_with(
        node("a", cpu="4"), node("b", cpu="4"), pod("small-a", cpu="2", bound="a", bare=True),
        pod("small-b", cpu="2", bound="b", bare=True), pod("large", cpu="4"),
    )  # fmt: skip
    (refused,) = decide_all(planner)
    assert isinstance(refused, Refused)


def test_batch_work_and_serving_do_not_take_turns():
    planner = planner_with(
        node("a", cpu="2"), pod("serves", cpu="2", bound="a", annotations=SERVING),
        pod("batch", cpu="2", priority=100, annotations=BATCH),
    )  # fmt: skip
    (refused,) = decide_all(planner)
    assert isinstance(refused, Refused)
    planner = planner_with(
        node("a", cpu="2"), pod("batch", cpu="2", bound="a", priority=100, annotations=BATCH),
        pod("serves", cpu="2", annotations=SERVING),
    )  # fmt: skip
    assert victims_of(decide_all(planner)) == {"serves": ["batch"]}
    planner.lose(pod("batch", cpu="2", bound="a"))
    planner.see(pod("batch-again", cpu="2", priority=100, annotations=BATCH))
    assert nodes_of(decide_all(planner, NOW_S + 20)) == {"serves": "a"}


def test_what_cannot_be_written_again_and_again_is_tried_less_and_less_often():
    planner = planner_with(node("a"), pod("p"))
    now_s, waits = NOW_S, []
    for _ in range(6):
        (placed,) = decide_all(planner, now_s)
        assert isinstance(placed, Placed)
        planner.failed(["pod-default-p"], now_s)
        assert decide_all(planner, now_s) == []
        due_s = planner.next_s()
        assert due_s is not None
        waits.append(due_s - now_s)
        now_s = due_s
    assert waits == sorted(waits)
    assert 1.0 <= waits[0] < waits[-1] <= 10.0
