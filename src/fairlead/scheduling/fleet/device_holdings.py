"""Who holds which devices: the allocations of claims, taken apart by pool and device, in and out one by one.

A device that is held keeps its pool's counters even when no slice lists it any more. What it takes is remembered from
the slice that listed it last; if that was before this process looked, it is not known, and nothing that takes counters
is given out of the pool until the device is released: what is left of them cannot be told.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fairlead.kube.objects.devices import AllocationResult
from fairlead.kube.quantity import parse_quantity
from fairlead.scheduling.allocator.counters import nanos
from fairlead.scheduling.allocator.devices import DeviceId, PoolId, PreparedDevice
from fairlead.scheduling.allocator.held import Held
from fairlead.scheduling.allocator.pools import Consumption, Pool

_UNREADABLE: Final = 10**60
"""More than any device has: of a share whose size cannot be read, nothing is known to be left."""

CounterAmounts = Mapping[tuple[str, str], int]
"""Counter set and counter -> billionths."""


class Hold(NamedTuple):
    """One device of one allocation."""

    pool: PoolId
    device: str
    share: str
    """The share's id; "" where the device is held whole."""
    amounts: tuple[tuple[str, int], ...]
    """What the share takes of each capacity, in billionths."""


@dataclass(slots=True)
class DeviceUse:
    """What is held of one device."""

    whole: list[str] = field(default_factory=list)
    """Uids of claims that hold all of it: more than one only where others than this scheduler gave it out."""
    shares: dict[tuple[str, str], tuple[tuple[str, int], ...]] = field(default_factory=dict)
    """Claim uid and share id -> what it takes."""

    @property
    def holders(self) -> tuple[str, ...]:
        return (*self.whole, *dict.fromkeys(uid for uid, _ in self.shares))

    def taken(self) -> dict[str, int]:
        """What the shares take of each capacity."""
        sums: dict[str, int] = {}
        for amounts in self.shares.values():
            for name, amount in amounts:
                sums[name] = sums.get(name, 0) + amount
        return sums


@dataclass(slots=True)
class PoolUse:
    """What is held of one pool."""

    version: int = 0
    """Another number after every change."""
    devices: dict[str, DeviceUse] = field(default_factory=dict)
    last_counters: dict[str, CounterAmounts] = field(default_factory=dict)
    """What devices took that were held when their slice went."""


class Holdings:
    """All that claims hold. `hold` and `release` are inverse to one another."""

    def __init__(self) -> None:
        self._claims: dict[str, tuple[AllocationResult, tuple[Hold, ...]]] = {}
        self._pools: dict[PoolId, PoolUse] = {}
        self._versions = itertools.count(1)

    def hold(self, uid: str, allocation: AllocationResult) -> frozenset[PoolId]:
        """The claim holds this and nothing else. Returns the pools of which more or less is held than before."""
        before = self._claims.get(uid)
        if before is not None and before[0] is allocation:
            return frozenset()
        touched = self.release(uid)[1] if before is not None else frozenset()
        holds = read_holds(allocation)
        self._claims[uid] = allocation, holds
        for hold in holds:
            use = self._touch(hold.pool)
            device = use.devices.get(hold.device)
            if device is None:
                device = use.devices[hold.device] = DeviceUse()
            if hold.share:
                device.shares[uid, hold.share] = hold.amounts
            else:
                device.whole.append(uid)
        return touched | {hold.pool for hold in holds}

    def release(self, uid: str) -> tuple[AllocationResult | None, frozenset[PoolId]]:
        """The claim holds nothing any more. What it held, and the pools."""
        found = self._claims.pop(uid, None)
        if found is None:
            return None, frozenset()
        allocation, holds = found
        for hold in holds:
            use = self._touch(hold.pool)
            device = use.devices[hold.device]
            if hold.share:
                device.shares.pop((uid, hold.share), None)
            else:
                device.whole.remove(uid)
            if not device.whole and not device.shares:
                del use.devices[hold.device]
        return allocation, frozenset(hold.pool for hold in holds)

    def allocation_of(self, uid: str) -> AllocationResult | None:
        found = self._claims.get(uid)
        return found[0] if found is not None else None

    def holds_of(self, uid: str) -> tuple[Hold, ...]:
        """The devices of a claim; admin access holds nothing."""
        found = self._claims.get(uid)
        return found[1] if found is not None else ()

    def use_of(self, pool: PoolId) -> PoolUse | None:
        return self._pools.get(pool)

    def note_leaving(self, pool: PoolId, devices: Iterable[PreparedDevice]) -> None:
        """These devices may be listed no longer: what those that are held take of the counters is remembered."""
        use = self._pools.get(pool)
        if use is None:
            return
        use.version = next(self._versions)
        for device in devices:
            if device.id.device in use.devices:
                use.last_counters[device.id.device] = counters_of(device)

    def _touch(self, pool: PoolId) -> PoolUse:
        use = self._pools.get(pool)
        if use is None:
            use = self._pools[pool] = PoolUse()
        use.version = next(self._versions)
        return use


class PoolState:
    """What is held of a pool as seen from one side (`Pool`), by place; worked out anew only after a change."""

    def __init__(self, pool: Pool, holdings: Holdings) -> None:
        self._pool = pool
        self._holdings = holdings
        self._places = {candidate.device.id.device: i for i, candidate in enumerate(pool.candidates)}
        self._elsewhere = {candidate.device.id.device: candidate.consumes for candidate in pool.elsewhere}
        self._version = 0
        self._held = Held()

    def held(self) -> Held:
        """Positions count from the pool's first candidate; its place is 0."""
        use = self._holdings.use_of(self._pool.id)
        if use is None or use.version == self._version:
            return self._held
        mask, shares, others = 0, [], [0] * len(self._pool.counters.amounts)
        for name, device in use.devices.items():
            place = self._places.get(name)
            if place is None:
                self._count_other(others, name, use)
                continue
            offered = self._pool.candidates[place].device
            # Shares of a device that is no longer given out in shares leave nothing of it for others.
            if device.whole or not offered.is_shared:
                mask |= 1 << place
            if device.shares and offered.is_shared:
                taken = device.taken()
                shares.append((place, tuple(taken.get(each.name, 0) for each in offered.capacities)))
        shares.sort()
        self._held = Held(mask, tuple(shares), ((0, tuple(others)),) if any(others) else ())
        self._version = use.version
        return self._held

    def _count_other(self, others: list[int], name: str, use: PoolUse) -> None:
        for slot, amount in self._consumption(name, use):
            others[slot] += amount

    def _consumption(self, name: str, use: PoolUse) -> Consumption:
        consumes = self._elsewhere.get(name)
        if consumes is not None:
            return consumes
        table = self._pool.counters
        known = use.last_counters.get(name)
        if known is None:
            return tuple((slot, amount + 1) for slot, amount in enumerate(table.amounts))
        return tuple((table.slots[counter], amount) for counter, amount in known.items() if counter in table.slots)


def read_holds(allocation: AllocationResult) -> tuple[Hold, ...]:
    """The devices of an allocation, without those for admin access, which hold nothing."""
    results = allocation.devices.results if allocation.devices is not None else ()
    return tuple(
        Hold(
            PoolId(result.driver, result.pool),
            result.device,
            result.share_id,
            tuple((name, _read(amount)) for name, amount in result.consumed_capacity.items()),
        )
        for result in results
        if not result.admin_access
    )


def counters_of(device: PreparedDevice) -> CounterAmounts:
    """What the device takes of its pool's counters."""
    taken: dict[tuple[str, str], int] = {}
    for consumption in device.spec.consumes_counters:
        for name, counter in consumption.counters.items():
            key = (consumption.counter_set, name)
            taken[key] = taken.get(key, 0) + _read(counter.value or "0")
    return taken


def device_id(hold: Hold) -> DeviceId:
    return DeviceId(hold.pool.driver, hold.pool.pool, hold.device)


def _read(text: str) -> int:
    try:
        return nanos(parse_quantity(text))
    except ValueError:
        return _UNREADABLE
