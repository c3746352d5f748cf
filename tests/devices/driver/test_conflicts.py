"""The last line of defence: who may hold what beside whom."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from devices.driver.driver_rig import widgets
from fairlead.devices.driver.conflicts import find_conflict
from fairlead.devices.driver.records import ClaimRecord, HeldDevice, held_device
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.vendor import Grant

HALVES = widgets(2, halves=True)


def held(name: str, inventory: Inventory = HALVES, *, admin: bool = False, lanes: str = "") -> HeldDevice:
    device = inventory.find(name)
    assert device is not None
    return held_device(Grant(device, "main", consumed={"lanes": lanes} if lanes else {}, admin_access=admin))


def record(uid: str, *devices: HeldDevice) -> dict[str, ClaimRecord]:
    return {uid: ClaimRecord(uid, "team", f"claim-{uid}", "prepared", devices)}


def reason(wanted: list[HeldDevice], records: dict[str, ClaimRecord], inventory: Inventory = HALVES) -> str:
    found = find_conflict("new", wanted, records, inventory)
    return found.reason if found else ""


def test_a_device_has_one_holder() -> None:
    assert (
        reason([held("widget-0")], record("a", held("widget-0"))) == 'device "widget-0" is held by claim team/claim-a'
    )
    assert reason([held("widget-1")], record("a", held("widget-0"))) == ""
    assert reason([held("widget-0")], record("new", held("widget-0"))) == "", "its own record is in nobody's way"


def test_admin_access_is_beside_everyone() -> None:
    assert reason([held("widget-0", admin=True)], record("a", held("widget-0"))) == ""
    assert reason([held("widget-0")], record("a", held("widget-0", admin=True))) == ""


def test_partitions_exclude_what_their_counters_exclude() -> None:
    assert reason([held("widget-0-b")], record("a", held("widget-0-a"))) == ""
    assert "overlaps" in reason([held("widget-0")], record("a", held("widget-0-a")))
    assert "overlaps" in reason([held("widget-0-a")], record("a", held("widget-0")))
    assert "the claim's own devices" in reason([held("widget-0"), held("widget-0-a")], {})


def test_without_counters_a_whole_excludes_its_parts() -> None:
    inventory = Inventory((Device("card"), Device("part-1", parent="card"), Device("part-2", parent="card")))
    assert "part of" in reason([held("part-1", inventory)], record("a", held("card", inventory)), inventory)
    assert "part of" in reason([held("card", inventory)], record("a", held("part-1", inventory)), inventory)
    assert reason([held("part-2", inventory)], record("a", held("part-1", inventory)), inventory) == ""


def test_shares_up_to_the_capacity() -> None:
    three = record("a", held("hub-0", lanes="3"))
    assert reason([held("hub-0", lanes="1")], three) == ""
    assert "lanes (4)" in reason([held("hub-0", lanes="2")], three)
    assert "the claim itself" in reason([held("hub-0", lanes="3"), held("hub-0", lanes="2")], {})


NAMES = [device.name for device in HALVES.devices]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans(), st.integers(1, 3)), max_size=24))
def test_whatever_is_asked_for_nobody_overlaps(asked: list[tuple[str, bool, int]]) -> None:
    records: dict[str, ClaimRecord] = {}
    for number, (name, admin, lanes) in enumerate(asked):
        uid = f"claim-{number}"
        wanted = [held(name, admin=admin, lanes=str(lanes) if name == "hub-0" else "")]
        if find_conflict(uid, wanted, records, HALVES) is None:
            records |= {uid: ClaimRecord(uid, "team", uid, "prepared", wanted)}
    taken = [d for r in records.values() for d in r.devices if not d.admin_access]
    whole = [d.name for d in taken if d.name != "hub-0"]
    assert len(whole) == len(set(whole))
    for card in ("widget-0", "widget-1"):
        assert sum(int(d.consumes.get(card, {}).get("cores", "0")) for d in taken) <= 8
    assert sum(int(d.consumed.get("lanes", "0")) for d in taken) <= 4
