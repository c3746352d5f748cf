"""What the API says of devices, put together for a person: slices, the claims that hold them, how they are. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fairlead.devices import description
from fairlead.devices.inventory import NUMA_NODE, PCI_BUS_ID, PCIE_ROOT, PCIE_SWITCH, SOCKET
from fairlead.kube.objects import Device, DeviceAttribute, DeviceTaint, ResourceClaim, ResourceSlice
from fairlead.kube.quantity import Quantity

Value = str | int | bool | list[Any]

_PLACE = {"PCI BUS": PCI_BUS_ID, "PCIE ROOT": PCIE_ROOT, "SWITCH": PCIE_SWITCH, "NUMA": NUMA_NODE, "SOCKET": SOCKET}


@dataclass(frozen=True, slots=True)
class Holder:
    """A claim that has a device. `consumed` (capacity -> quantity) where it has a share; `pods` use the claim."""

    namespace: str
    claim: str
    request: str
    pods: tuple[str, ...]
    consumed: Mapping[str, str]

    def __str__(self) -> str:
        share = " (" + ", ".join(f"{name} {amount}" for name, amount in self.consumed.items()) + ")"
        return f"{self.namespace}/{self.claim}{share if self.consumed else ''}"


@dataclass(frozen=True, slots=True)
class Shown:
    """One published device. `node` is empty for a pool that is not one node's. `part_of` names the whole device that it
    is a part of, `counters` are those of the sets that it draws on: set -> counter -> quantity in all."""

    node: str
    driver: str
    pool: str
    device: Device
    part_of: str
    counters: Mapping[str, Mapping[str, str]]

    @property
    def name(self) -> str:
        return self.device.name

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.driver, self.pool, self.name)

    def attributes(self) -> dict[str, Value]:
        return {name: value(attribute) for name, attribute in self.device.attributes.items()}

    def attribute(self, name: str) -> str:
        """As text; "-" where there is none. Names without a domain are the driver's own, written either way."""
        found = self.device.attributes.get(name) or self.device.attributes.get(f"{self.driver}/{name}")
        return str(value(found)) if found is not None else "-"

    def capacity(self, name: str) -> str:
        found = self.device.capacity.get(name) or self.device.capacity.get(f"{self.driver}/{name}")
        return found.value if found is not None else "-"

    @property
    def model(self) -> str:
        """What it is; "-" where its driver does not tell."""
        attributes, bandwidth = self.attributes(), self.capacity("bandwidth")
        named = description.interface(attributes)
        return (description.product(attributes, bandwidth) or "-") + (f" ({named})" if named else "")

    @property
    def state(self) -> str:
        """In a word or two: what its taints say. Slices tell of nothing else: a device that nobody can tell anything of
        has no taint either."""
        if not self.device.taints:
            return "untainted"
        return ", ".join(taint_text(taint) for taint in self.device.taints)

    def place(self) -> dict[str, str]:
        """Column -> where the device sits."""
        return {column: self.attribute(name) for column, name in _PLACE.items()}


def value(attribute: DeviceAttribute) -> Value:
    for single in (attribute.string, attribute.version, attribute.int_, attribute.bool_):
        if single is not None:
            return single
    for several in (attribute.strings, attribute.versions, attribute.ints, attribute.bools):
        if several:
            return list(several)
    return ""


def taint_text(taint: DeviceTaint) -> str:
    """Short: what is wrong, and what follows from it."""
    what = taint.key.rpartition("/")[2] + (f" {taint.value}" if taint.value else "")
    return f"{what} ({taint.effect})"


def shown_devices(slices: Iterable[ResourceSlice]) -> list[Shown]:
    """The devices of each pool's newest generation, by node and driver, accelerators before the
    network ports beside them, else in the order in which they are allocated."""
    pools: dict[tuple[str, str], list[ResourceSlice]] = defaultdict(list)
    for one in slices:
        if one.spec.pool is not None:
            pools[one.spec.driver, one.spec.pool.name].append(one)
    shown: list[Shown] = []
    for (driver, pool), found in pools.items():
        newest = max(one.spec.pool.generation for one in found if one.spec.pool is not None)
        current = [one for one in found if one.spec.pool is not None and one.spec.pool.generation == newest]
        current.sort(key=lambda one: one.metadata.name)
        shown += _pool(driver, pool, current)
    return sorted(shown, key=lambda one: (one.node, description.is_network(one.attributes()), one.driver))


def _pool(driver: str, pool: str, slices: Sequence[ResourceSlice]) -> list[Shown]:
    sets = {
        counters.name: {name: counter.value for name, counter in counters.counters.items()}
        for one in slices
        for counters in one.spec.shared_counters
    }
    devices = [(one.spec.node_name, device) for one in slices for device in one.spec.devices]
    wholes = _wholes([device for _, device in devices])
    return [
        Shown(
            node=node or device.node_name,
            driver=driver,
            pool=pool,
            device=device,
            part_of=wholes.get(device.name, ""),
            counters={used.counter_set: sets.get(used.counter_set, {}) for used in device.consumes_counters},
        )
        for node, device in devices
    ]


def _wholes(devices: Sequence[Device]) -> dict[str, str]:
    """Part -> the whole that it is a part of: the device that uses more of the same counters than any other."""
    best: dict[str, tuple[int, str]] = {}
    for device in devices:
        for used in device.consumes_counters:
            amount = sum(_amount(counter.value) > 0 for counter in used.counters.values())
            if used.counter_set not in best or amount > best[used.counter_set][0]:
                best[used.counter_set] = (amount, device.name)
    parts = {}
    for device in devices:
        for used in device.consumes_counters:
            amount, whole = best[used.counter_set]
            if whole != device.name and sum(_amount(c.value) > 0 for c in used.counters.values()) < amount:
                parts[device.name] = whole
    return parts


def holders(claims: Iterable[ResourceClaim]) -> dict[tuple[str, str, str], list[Holder]]:
    """(driver, pool, device) -> the claims that have it."""
    found: dict[tuple[str, str, str], list[Holder]] = defaultdict(list)
    for claim in claims:
        allocation = claim.status.allocation
        if allocation is None or allocation.devices is None:
            continue
        pods = tuple(user.name for user in claim.status.reserved_for if user.resource == "pods")
        for result in allocation.devices.results:
            found[result.driver, result.pool, result.device].append(
                Holder(
                    claim.metadata.namespace, claim.metadata.name, result.request, pods, dict(result.consumed_capacity)
                )
            )
    return found


def counters_left(
    shown: Shown, all_shown: Sequence[Shown], held: Mapping[tuple[str, str, str], Sequence[Holder]]
) -> dict[str, dict[str, tuple[str, str, str]]]:
    """Set -> counter -> what the device uses of it, what no claim has now, and what there is in all."""
    used_by_claims: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for other in all_shown:
        if (other.driver, other.pool) == (shown.driver, shown.pool) and held.get(other.key):
            for used in other.device.consumes_counters:
                for name, counter in used.counters.items():
                    used_by_claims[used.counter_set, name] += _amount(counter.value)
    left: dict[str, dict[str, tuple[str, str, str]]] = {}
    for used in shown.device.consumes_counters:
        total = shown.counters.get(used.counter_set, {})
        left[used.counter_set] = {
            name: (
                counter.value,
                _less(total.get(name, "?"), used_by_claims[used.counter_set, name]),
                total.get(name, "?"),
            )
            for name, counter in used.counters.items()
        }
    return left


def as_json(shown: Shown, held: Sequence[Holder]) -> dict[str, Any]:
    return {
        "node": shown.node,
        "driver": shown.driver,
        "pool": shown.pool,
        "name": shown.name,
        "partOf": shown.part_of or None,
        "attributes": shown.attributes(),
        "capacity": {name: capacity.value for name, capacity in shown.device.capacity.items()},
        "taints": [
            {"key": t.key, "value": t.value, "effect": t.effect, "timeAdded": t.time_added} for t in shown.device.taints
        ],
        "claims": [
            {
                "namespace": h.namespace,
                "name": h.claim,
                "request": h.request,
                "pods": list(h.pods),
                "consumed": dict(h.consumed),
            }
            for h in held
        ],
    }


def _amount(text: str) -> Decimal:
    try:
        return Quantity.parse(text).amount
    except ValueError:
        return Decimal(0)


def _less(total: str, used: Decimal) -> str:
    try:
        quantity = Quantity.parse(total)
    except ValueError:
        return "?"
    return str(Quantity(quantity.amount - used, quantity.format))
