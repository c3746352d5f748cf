"""On which accelerators replicas are tried: in a small simulated cluster every replica ends where there is room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.observed import Member, Replica
from fairlead.serving.resolve import ResolvedRole, choose_alternative, resolve_service
from fairlead.serving.resolve.alternatives import RETRY_FACTOR
from serving.resolve.services import FACTS, VLLM, service

ELSEWHERE_S = 30.0
NAMES = ("a", "b", "c")


def role(*names: str) -> ResolvedRole:
    entries: list[Any] = [
        {"name": name, "deviceClass": name, "parallelism": {"tensor": 2**i}} for i, name in enumerate(names)
    ]
    return resolve_service(service(**VLLM, accelerators=entries), (), FACTS).roles["unified"]


ROLE = role(*NAMES)


def replica(number: int, alternative: str, created_s: float, *, placed: bool) -> Replica:
    member = Member(
        f"r-{number}", f"u{number}", node="n" if placed else "", created_s=created_s,
        unschedulable="" if placed else "no room",
    )  # fmt: skip
    return Replica(member.name, "unified", "rev", (member,), alternative=alternative)


def test_without_alternatives_there_is_nothing_to_choose() -> None:
    assert choose_alternative(role("a"), [replica(0, "a", 0, placed=False)], ELSEWHERE_S, 99).next == ""


def test_the_preferred_is_tried_first_and_has_its_time() -> None:
    choice = choose_alternative(ROLE, [], ELSEWHERE_S, 0)
    assert choice.next == "a" and not choice.moves and choice.again_s is None
    choice = choose_alternative(ROLE, [replica(0, "a", 0, placed=False)], ELSEWHERE_S, 29)
    assert not choice.moves and choice.again_s == 1


def test_after_its_time_the_next_is_tried_and_new_ones_go_there_at_once() -> None:
    choice = choose_alternative(ROLE, [replica(0, "a", 0, placed=False)], ELSEWHERE_S, 30)
    assert choice.moves == {"r-0": "b"} and choice.next == "b"


def test_a_replica_without_a_verdict_yet_is_not_stuck() -> None:
    fresh = replica(0, "a", 0, placed=False)
    unseen = replace(fresh, members=(replace(fresh.members[0], unschedulable=""),))
    assert not choose_alternative(ROLE, [unseen], ELSEWHERE_S, 99).moves


def test_what_has_a_place_keeps_it_and_better_ones_are_tried_again_later_by_new_replicas() -> None:
    placed = [replica(0, "b", 100, placed=True)]
    soon = choose_alternative(ROLE, placed, ELSEWHERE_S, 101)
    assert soon.next == "b" and not soon.moves
    later = choose_alternative(ROLE, placed, ELSEWHERE_S, 100 + RETRY_FACTOR * ELSEWHERE_S)
    assert later.next == "a" and not later.moves


def test_after_the_last_comes_the_first() -> None:
    choice = choose_alternative(ROLE, [replica(0, "c", 0, placed=False)], ELSEWHERE_S, 30)
    assert choice.moves == {"r-0": "a"}


def test_replicas_that_leave_say_nothing() -> None:
    leaving = replace(replica(0, "a", 0, placed=False), draining_s=1.0)
    assert choose_alternative(ROLE, [leaving], ELSEWHERE_S, 99) == choose_alternative(ROLE, [], ELSEWHERE_S, 99)


@given(
    st.tuples(*(st.integers(0, 4) for _ in NAMES)),
    st.integers(1, 6),
    st.integers(0, 3),
)
def test_everything_finds_a_place_where_there_is_one(rooms: tuple[int, ...], wanted: int, more: int) -> None:
    """A cluster with so much room for each kind: replicas come, are placed or wait, and are moved as it is said."""
    room = dict(zip(NAMES, rooms, strict=True))
    fleet: dict[int, Replica] = {}
    now_s = 0.0
    for _ in range(40):
        choice = choose_alternative(ROLE, list(fleet.values()), ELSEWHERE_S, now_s)
        for name in choice.moves:
            number = int(name.removeprefix("r-"))
            assert not fleet[number].alive[0].node, "what has a place is never moved"
            assert choice.moves[name] != fleet[number].alternative
            fleet[number] = replica(number, choice.moves[name], now_s, placed=False)
        for number in range(wanted + (more if now_s > 600 else 0)):
            fleet.setdefault(number, replica(number, choice.next, now_s, placed=False))
        for number, each in sorted(fleet.items()):
            taken = sum(r.alternative == each.alternative and bool(r.alive[0].node) for r in fleet.values())
            if not each.alive[0].node and taken < room[each.alternative]:
                fleet[number] = replica(number, each.alternative, each.created_s, placed=True)
        now_s += ELSEWHERE_S
    placed = sum(bool(r.alive[0].node) for r in fleet.values())
    assert placed == min(len(fleet), sum(rooms))
