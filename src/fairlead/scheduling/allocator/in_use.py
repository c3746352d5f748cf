"""What earlier allocations hold: the one state that a decision needs beside slices, classes and claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fairlead.kube.objects.devices import AllocationResult
from fairlead.kube.quantity import ZERO, Quantity, parse_quantity
from fairlead.scheduling.allocator.capacity import Amounts
from fairlead.scheduling.allocator.devices import DeviceId, PoolId


@dataclass(frozen=True, slots=True)
class InUse:
    """Devices held by allocated claims. The counters they take follow from it.

    A device held with admin access alone is not in use.
    """

    devices: frozenset[DeviceId] = frozenset()
    """Held whole."""
    shares: Mapping[DeviceId, frozenset[str]] = field(default_factory=dict)
    """Share ids of devices that are held in shares."""
    capacity: Mapping[DeviceId, Amounts] = field(default_factory=dict)
    """What the shares of a device consume together."""
    gone: Mapping[PoolId, Mapping[tuple[str, str], int]] = field(default_factory=dict)
    """What devices that are held and that no slice lists any more take of their pool's counters: counter set and
    counter -> billionths."""

    def holds(self, device: DeviceId) -> bool:
        """Whether anything of the device is held; then its counters are taken."""
        return device in self.devices or self.is_partly_held(device)

    def is_partly_held(self, device: DeviceId) -> bool:
        return device in self.shares or device in self.capacity


NOTHING_IN_USE = InUse()


def tally_allocations(allocations: Iterable[AllocationResult]) -> InUse:
    """What the allocations of claims hold together. Raises ValueError for a consumed capacity that is no quantity."""
    whole: set[DeviceId] = set()
    shares: dict[DeviceId, set[str]] = {}
    capacity: dict[DeviceId, dict[str, Quantity]] = {}
    for allocation in allocations:
        for result in allocation.devices.results if allocation.devices is not None else ():
            if result.admin_access:
                continue
            device = DeviceId(result.driver, result.pool, result.device)
            if not result.share_id:
                whole.add(device)
                continue
            shares.setdefault(device, set()).add(result.share_id)
            taken = capacity.setdefault(device, {})
            for name, amount in result.consumed_capacity.items():
                taken[name] = taken.get(name, ZERO) + parse_quantity(amount)
    return InUse(frozenset(whole), {device: frozenset(ids) for device, ids in shares.items()}, capacity)
