"""What must hold for devices and claims, said in the API's words: no code of the scheduler is used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fairlead.kube.objects import Node
from fairlead.kube.objects.devices import AllocationResult, Device, ResourceClaim, ResourceSlice
from scheduling.chaos.ledger import Ledger
from scheduling.chaos.node_rules import amount, is_tolerated

DeviceKey = tuple[str, str, str]
"""Driver, pool, name."""
_KIND = re.compile(r'\.kind == "(\w+)"')


@dataclass
class Offered:
    """What slices say, as far as it counts: the newest generation of each pool, if it is complete."""

    devices: dict[DeviceKey, tuple[Device, ResourceSlice]] = field(default_factory=dict)
    counters: dict[tuple[str, str], dict[tuple[str, str], Decimal]] = field(default_factory=dict)
    """Driver and pool -> counter set and counter -> how much there is."""


def offered(ledger: Ledger) -> Offered:
    found = Offered()
    pools: dict[tuple[str, str], list[ResourceSlice]] = {}
    for slice_ in ledger.truth.told_of("ResourceSlice"):
        pools.setdefault((slice_.spec.driver, slice_.spec.pool.name), []).append(slice_)
    for (driver, pool), slices in pools.items():
        newest = max(s.spec.pool.generation for s in slices)
        current = [s for s in slices if s.spec.pool.generation == newest]
        if len(current) != current[0].spec.pool.resource_slice_count:
            continue
        for slice_ in current:
            for device in slice_.spec.devices:
                found.devices[driver, pool, device.name] = device, slice_
            for one in slice_.spec.shared_counters:
                sets = found.counters.setdefault((driver, pool), {})
                sets.update({(one.name, name): amount(counter.value) for name, counter in one.counters.items()})
    return found


def wrong_allocation(ledger: Ledger, there: Offered, claim: ResourceClaim, given: AllocationResult, node: Node) -> str:
    """What is wrong with the devices that a claim has just been given on a node; empty if nothing."""
    results = given.devices.results if given.devices is not None else ()
    for result in results:
        found = there.devices.get((result.driver, result.pool, result.device))
        if found is None:
            return f"{result.device} of {result.pool} is not offered"
        device, slice_ = found
        if not _reaches(device, slice_, node):
            return f"{result.device} of {result.pool} is not for node {node.metadata.name}"
        request = _request(claim, result.request)
        if ("DeviceClass", "", request.device_class_name) not in ledger.truth.told:
            return f"there is no class {request.device_class_name}"
        if result.driver != request.device_class_name:
            return f"{result.device} is not of class {request.device_class_name}"
        (wanted,) = [kind for s in request.selectors for kind in _KIND.findall(s.cel.expression)]
        if device.attributes["kind"].string != wanted:
            return f"{result.device} is no {wanted}"
        if bool(result.admin_access) != bool(getattr(request, "admin_access", None)):
            return f"{result.device}: admin access is not what was asked for"
        for taint in (*device.taints, *_ruled(ledger, result.driver, result.pool, result.device)):
            if taint.effect in ("NoSchedule", "NoExecute") and not is_tolerated(request.tolerations, taint):
                return f"{result.device} of {result.pool} has the taint {taint.key}:{taint.effect}"
        if bool(device.allow_multiple_allocations) != bool(result.share_id) and not result.admin_access:
            return f"{result.device} is shared, or not, against its nature"
    return _wrong_counts(claim, results, there, node) or _wrong_constraints(claim, results, there)


def overused(allocations: Mapping[str, AllocationResult], there: Offered, of: AllocationResult, before: Any) -> str:
    """What of the devices of an allocation is handed out more than once, or beyond what there is.

    `before` has the devices that are not offered any more, as they last were.
    """
    whole: dict[DeviceKey, list[str]] = {}
    shares: dict[DeviceKey, Decimal] = {}
    for name, allocation in allocations.items():
        for result in allocation.devices.results if allocation.devices is not None else ():
            key = (result.driver, result.pool, result.device)
            if result.admin_access:
                continue
            if result.share_id:
                taken = sum((amount(value) for value in result.consumed_capacity.values()), Decimal(0))
                shares[key] = shares.get(key, Decimal(0)) + taken
            else:
                whole.setdefault(key, []).append(name)
    for result in of.devices.results if of.devices is not None else ():
        key = (result.driver, result.pool, result.device)
        if result.admin_access:
            continue
        if len(whole.get(key, ())) > 1:
            return f"{key} is held by {whole[key]}"
        if key in whole and key in shares:
            return f"{key} is held whole by {whole[key]}, and in shares"
        device, _ = there.devices[key]
        if key in shares and shares[key] > amount(device.capacity["memory"].value):
            return f"shares of {key} are {shares[key]} together"
        exceeded = _exceeded({*whole, *shares}, there, before, key)
        if exceeded:
            return exceeded
    return ""


def _exceeded(held: set[DeviceKey], there: Offered, before: Mapping[DeviceKey, Device], of: DeviceKey) -> str:
    mine = {counter for counter, _ in _consumed(there.devices[of][0])}
    if not mine:
        return ""
    sums: dict[tuple[str, str], Decimal] = {}
    for key in held:
        if key[:2] != of[:2]:
            continue
        device = there.devices[key][0] if key in there.devices else before.get(key)
        for counter, value in _consumed(device) if device is not None else ():
            sums[counter] = sums.get(counter, Decimal(0)) + value
    available = there.counters.get(of[:2], {})
    over = [counter for counter in mine if sums.get(counter, 0) > available.get(counter, Decimal(0))]
    return f"counter {over[0]} of {of[1]}: {sums[over[0]]} are taken" if over else ""


def _consumed(device: Device) -> list[tuple[tuple[str, str], Decimal]]:
    return [
        ((one.counter_set, name), amount(counter.value))
        for one in device.consumes_counters
        for name, counter in one.counters.items()
    ]


def _reaches(device: Device, slice_: ResourceSlice, node: Node) -> bool:
    where: Any = device if slice_.spec.per_device_node_selection else slice_.spec
    if where.all_nodes:
        return True
    if where.node_name:
        return bool(where.node_name == node.metadata.name)
    return selects(where.node_selector, node)


def selects(selector: Any, node: Node) -> bool:
    """Whether a node selector of `In` requirements is for a node."""
    return any(
        all(node.metadata.labels.get(e.key) in e.values for e in term.match_expressions)
        and all(node.metadata.name in f.values for f in term.match_fields)
        for term in selector.node_selector_terms
    )


def _request(claim: ResourceClaim, name: str) -> Any:
    devices = claim.spec.devices
    assert devices is not None
    main, _, below = name.partition("/")
    request = next(r for r in devices.requests if r.name == main)
    return next(s for s in request.first_available if s.name == below) if below else request.exactly


def count_devices(claim: ResourceClaim, device_class: str) -> int:
    """What a claim counts for in a quota of a class: of alternatives the dearest, 32 for all, admin access for none."""
    assert claim.spec.devices is not None
    total = 0
    for request in claim.spec.devices.requests:
        options: list[Any] = [request.exactly] if request.exactly is not None else list(request.first_available)
        counts = [
            0 if getattr(each, "admin_access", None) else 32 if each.allocation_mode == "All" else each.count or 1
            for each in options
            if each.device_class_name == device_class
        ]
        total += max(counts, default=0)
    return total


def _wrong_counts(claim: ResourceClaim, results: Any, there: Offered, node: Node) -> str:
    devices = claim.spec.devices
    assert devices is not None
    for request in devices.requests:
        mine = [r for r in results if r.request.partition("/")[0] == request.name]
        names = {r.request for r in mine}
        if len(names) != 1:
            return f"request {request.name} was answered as {sorted(names)}"
        wanted = _request(claim, names.pop())
        count = wanted.count
        if wanted.allocation_mode == "All":
            (kind,) = [kind for s in wanted.selectors for kind in _KIND.findall(s.cel.expression)]
            count = sum(
                device.attributes["kind"].string == kind and _reaches(device, slice_, node)
                for device, slice_ in there.devices.values()
            )
        if len(mine) != count:
            return f"request {request.name} has {len(mine)} devices, not {count}"
        if len({(r.driver, r.pool, r.device) for r in mine if not r.share_id}) < sum(not r.share_id for r in mine):
            return f"request {request.name} has a device twice"
    return ""


def _wrong_constraints(claim: ResourceClaim, results: Any, there: Offered) -> str:
    devices = claim.spec.devices
    assert devices is not None
    for constraint in devices.constraints:
        found = [there.devices[r.driver, r.pool, r.device][0].attributes["numa"].int_ for r in results]
        if constraint.match_attribute and len(set(found)) > 1:
            return f"devices of numa nodes {found} are not of one"
        if constraint.distinct_attribute and len(set(found)) < len(found):
            return f"devices of numa nodes {found} are of one"
    return ""


def _ruled(ledger: Ledger, driver: str, pool: str, device: str) -> list[Any]:
    found = []
    for rule in ledger.truth.told_of("DeviceTaintRule"):
        selector = rule.spec.device_selector
        if (selector.driver, selector.pool, selector.device) == (driver, pool, device):
            found.append(rule.spec.taint)
    return found
