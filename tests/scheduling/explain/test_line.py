"""The line of a condition: kube-scheduler's form for plain pods, names and nearness for gangs, lengths that fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.scheduling.explain.line import GATED, LONGEST_EVENT, UNSCHEDULABLE, Line, clip, line_of
from fairlead.scheduling.gangs.model import Gang, Group, gang_of_one
from fairlead.scheduling.snapshot import PodView, Shape
from fairlead.scheduling.verdict import Because, Cleared, DomainReport, Explanation, Refused, Victims

SENTENCE = "0/3 nodes are available: 2 Insufficient cpu, 1 Too many pods."


def pod(name: str) -> PodView:
    return PodView("default", name, f"uid-{name}", Shape("default", {"pods": 1}))


def gang(*names: str, kind: str = "Job") -> Gang:
    return Gang("default", "train", Group("train", tuple(map(pod, names)), minimum=len(names)), kind=kind)


def test_plain_pods_are_told_in_kube_schedulers_form() -> None:
    explanation = Explanation(Because.NODES, SENTENCE, remedy="buy nodes", domains=(DomainReport("rack", "r", 1, 0),))
    assert line_of(Refused(gang_of_one(pod("p")), explanation)) == Line(UNSCHEDULABLE, SENTENCE)


def test_gangs_are_told_how_near_they_came_and_what_would_help() -> None:
    report = DomainReport("fabric.topograph.run/tier-0", "r7", wanted=3, found=2)
    explanation = Explanation(Because.TOPOLOGY, "no single rack has room.", domains=(report,), remedy="end batch/x")
    assert line_of(Refused(gang("a", "b", "c"), explanation)).message == (
        "Job default/train of 3 pods: no single rack has room; nearest: rack r7 has room for 2 of 3 pods; "
        "remedy: end batch/x."
    )


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [("waits for scheduling gates: a", GATED), ('waits for resource claim "c", which does not exist', UNSCHEDULABLE)],
)
def test_only_gates_gate(sentence: str, reason: str) -> None:
    verdict = Refused(gang_of_one(pod("p")), Explanation(Because.GATE, sentence))
    assert line_of(verdict) == Line(reason, sentence)


def test_cleared_says_who_leaves_where() -> None:
    victim = Victims(gang_of_one(pod("old")), (pod("old"),), True, 1.0, "lower")
    made = Cleared(gang("a"), (victim,), {"uid-a": "n1"}, "preemption", why="it is more important")
    assert line_of(made).message == (
        "Job default/train of 1 pod: preemption: waits for 1 pod of default/old to leave n1: it is more important"
    )
    leaving = Cleared(gang_of_one(pod("a")), (), {"uid-a": "n1"}, "leaving")
    assert line_of(leaving).message == "waits for pods that are leaving n1"


@given(st.text(max_size=2000), st.integers(10, 1500))
def test_clipped_texts_fit_and_begin_alike(text: str, most: int) -> None:
    clipped = clip(text, most)
    assert len(clipped.encode()) <= most
    assert text.startswith(clipped.removesuffix("…"))
    assert clipped == text or len(text.encode()) > most


def test_events_are_no_longer_than_the_api_takes() -> None:
    line = line_of(Refused(gang_of_one(pod("p")), Explanation(Because.NODES, "ä" * 3000)))
    assert len(line.event.encode()) <= LONGEST_EVENT
