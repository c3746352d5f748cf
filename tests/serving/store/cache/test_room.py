"""What leaves a cache for a newcomer: never what is kept, never more than is needed, nothing for what cannot fit; the
refusal has the arithmetic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.store.cache.room import NoRoom, Occupant, Room, amount, plan_room

GIBI = 1 << 30


@st.composite
def occupants(draw: st.DrawFn) -> list[Occupant]:
    found = []
    for number in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["model", "partial", "damaged"]))
        size = draw(st.integers(0, 50))
        disk = draw(st.integers(0, size)) if kind == "partial" else size
        found.append(
            Occupant(
                f"o{number}", kind, size, disk, draw(st.integers(0, 5)), draw(st.booleans()), draw(st.integers(0, 1))
            )
        )
    return found


@given(occupants(), st.integers(0, 120), st.none() | st.integers(0, 150), st.integers(0, 150), st.integers(0, 20))
def test_room(there: list[Occupant], needed: int, capacity: int | None, free: int, spare: int) -> None:
    answer = plan_room(there, needed, capacity_bytes=capacity, free_bytes=free, spare_bytes=spare)
    by_name = {o.name: o for o in there}
    promised = sum(o.bytes - o.disk_bytes for o in there if o.kind == "partial" and o.users)

    def fits(gone: list[str]) -> bool:
        left = [o for o in there if o.name not in gone]
        freed = sum(by_name[name].disk_bytes for name in gone)
        within = capacity is None or sum(o.bytes for o in left) + needed <= capacity
        return within and free + freed - promised - needed >= spare

    leaving = [o.name for o in there if o.may_leave]
    if isinstance(answer, NoRoom):
        assert not fits(leaving), "all that may leave would have been enough"
        assert "lacking" in answer.reason or "whole cache" in answer.reason
        return
    gone = list(answer.leave)
    assert set(gone) <= set(leaving)
    assert fits(gone) and (not gone or not fits(gone[:-1])), "no more leaves than has to"
    order = [(by_name[n].kind != "damaged", by_name[n].used_s) for n in gone]
    assert order == sorted(order)
    stays = [o for o in there if o.may_leave and o.name not in gone]
    assert all((o.kind != "damaged", o.used_s) >= order[-1] for o in stays) if order else True


def test_what_is_damaged_leaves_first_then_the_longest_unused() -> None:
    there = [
        Occupant("new", "model", 10, 10, 9), Occupant("old", "model", 10, 10, 1),
        Occupant("bad", "damaged", 10, 10, 5), Occupant("used", "model", 10, 10, 0, users=1),
    ]  # fmt: skip
    answer = plan_room(there, 15, capacity_bytes=40, free_bytes=1000, spare_bytes=0)
    assert answer == Room(("bad", "old"))


def test_the_refusal_has_the_arithmetic() -> None:
    there = [
        Occupant("a", "model", 300 * GIBI, 300 * GIBI, 1, users=2, label="hf://o/used"),
        Occupant("b", "model", 100 * GIBI, 100 * GIBI, 1, is_pinned=True, label="hf://o/pinned"),
        Occupant("c", "model", 50 * GIBI, 50 * GIBI, 1, label="hf://o/idle"),
    ]
    refused = plan_room(there, 140 * GIBI, capacity_bytes=500 * GIBI, free_bytes=10**15, spare_bytes=0)
    assert isinstance(refused, NoRoom)
    assert refused.reason == (
        "it takes 140.0 GiB; of 500.0 GiB, 450.0 GiB are taken, and of these only 50.0 GiB may leave (300.0 GiB in use "
        "by hf://o/used, 100.0 GiB pinned by hf://o/pinned): 40.0 GiB are lacking. Unpin one (fairlead model cache "
        "unpin), or make the cache larger"
    )
    too_big = plan_room([], 600 * GIBI, capacity_bytes=500 * GIBI, free_bytes=10**15, spare_bytes=0)
    assert isinstance(too_big, NoRoom) and "the whole cache may hold 500.0 GiB" in too_big.reason
    full = plan_room(there[:1], 140 * GIBI, capacity_bytes=None, free_bytes=100 * GIBI, spare_bytes=GIBI)
    assert isinstance(full, NoRoom) and "the disk has 100.0 GiB free" in full.reason
    assert "41.0 GiB are lacking" in full.reason


def test_amounts() -> None:
    assert [amount(n) for n in (0, 1023, 1536, 5 << 20, 3 << 40)] == ["0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.0 TiB"]
