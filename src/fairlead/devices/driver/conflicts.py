"""Whether devices may be given to a claim while others hold theirs: the last line of defence. Pure.

The scheduler sees to it that claims do not overlap; when it, an API server restored from a backup, or two schedulers
get it wrong, the node must not hand one accelerator to two pods. Devices with admin access take nothing and are in
nobody's way. A shareable device may be held by many, as far as its capacity goes. Partitions of one card exclude each
other as far as their counters say; where no counters join a card and its partition, the card as a whole excludes the
partition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from fairlead.devices.driver.records import ClaimRecord, HeldDevice, Records
from fairlead.devices.inventory import Inventory
from fairlead.kube.quantity import parse_quantity


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why a device cannot be given. `holder` is the UID of the claim in the way, "" where the claim is its own."""

    device: str
    holder: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Holding:
    uid: str
    claim: str
    device: HeldDevice


def find_conflict(uid: str, wanted: Sequence[HeldDevice], records: Records, inventory: Inventory) -> Conflict | None:
    """The first reason why the claim `uid` cannot get these devices; None when it can."""
    taken = [_Holding(r.uid, str(r.reference), d) for r in records.values() if r.uid != uid for d in _taking(r)]
    mine: list[_Holding] = []
    for device in wanted:
        if device.admin_access:
            continue
        for holding in (*taken, *mine):
            reason = _in_the_way(device, holding.device)
            if reason:
                who = "the claim itself" if holding.uid == uid else f"claim {holding.claim}"
                return Conflict(device.name, "" if holding.uid == uid else holding.uid, f"{reason} by {who}")
        mine.append(_Holding(uid, "", device))
    return _over_counters(taken, mine, inventory) or _over_capacity(taken, mine, inventory)


def _taking(record: ClaimRecord) -> Iterable[HeldDevice]:
    return (device for device in record.devices if not device.admin_access)


def _in_the_way(wanted: HeldDevice, held: HeldDevice) -> str:
    if wanted.name == held.name:
        return "" if wanted.shareable and held.shareable else f'device "{wanted.name}" is held'
    if wanted.consumes.keys() & held.consumes.keys():
        return ""  # counters say how far they exclude each other
    if wanted.parent == held.name:
        return f'device "{wanted.name}" is part of "{held.name}", which is held'
    if held.parent == wanted.name:
        return f'device "{held.name}" is part of "{wanted.name}" and is held'
    return ""


def _over_counters(taken: Sequence[_Holding], mine: Sequence[_Holding], inventory: Inventory) -> Conflict | None:
    """Counters are taken once for each device, however many claims share it."""
    used: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    seen: set[str] = set()
    for holding in (*taken, *mine):
        if holding.device.name in seen:
            continue
        seen.add(holding.device.name)
        for set_name, counters in holding.device.consumes.items():
            for counter, amount in counters.items():
                used[set_name, counter] += parse_quantity(amount).amount
    for holding in mine:
        for set_name, counters in holding.device.consumes.items():
            for counter in counters:
                there = inventory.counters.get(set_name, {}).get(counter)
                if there is None or used[set_name, counter] <= parse_quantity(there).amount:
                    continue
                other = next((h for h in taken if counter in h.device.consumes.get(set_name, {})), None)
                by = f' "{other.device.name}" of claim {other.claim}' if other else " the claim's own devices"
                reason = f'device "{holding.device.name}" overlaps{by} (counter {set_name}/{counter})'
                return Conflict(holding.device.name, other.uid if other else "", reason)
    return None


def _over_capacity(taken: Sequence[_Holding], mine: Sequence[_Holding], inventory: Inventory) -> Conflict | None:
    """A shared device gives no more than it has."""
    used = _shares(taken)
    for holding in mine:
        device = inventory.find(holding.device.name)
        if device is None or not device.shareable:
            continue
        own = _shares(h for h in mine if h.device.name == device.name)
        for capacity, amount in own.items():
            has = device.capacity.get(capacity[1])
            if has is not None and used.get(capacity, Decimal()) + amount > parse_quantity(has.value).amount:
                other = next((h for h in taken if h.device.name == device.name), None)
                by = f"claim {other.claim} and others" if other else "the claim itself"
                reason = f'capacity {capacity[1]} ({has.value}) of device "{device.name}" is used up by {by}'
                return Conflict(device.name, other.uid if other else "", reason)
    return None


def _shares(holdings: Iterable[_Holding]) -> Mapping[tuple[str, str], Decimal]:
    used: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for holding in holdings:
        for capacity, amount in holding.device.consumed.items():
            used[holding.device.name, capacity] += parse_quantity(amount).amount
    return used
