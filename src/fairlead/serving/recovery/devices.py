"""What is wrong with the devices that replicas hold, from all that speak of devices. Pure.

Taints in ResourceSlices and DeviceTaintRules that the claim does not tolerate, devices that their pool does not offer
any more, conditions in `status.devices` of claims, and the health that kubelets report in
`containerStatuses[].allocatedResourcesStatus`. A pool that lacks slices says nothing of its devices: a driver may
just be starting. A device that is ill by a taint and by its health is one trouble for each; the taint is the graver.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.clock import parse_time
from fairlead.kube.objects import Pod
from fairlead.kube.objects.devices import (
    AllocatedDeviceStatus,
    DeviceTaint,
    DeviceTaintRule,
    DeviceToleration,
    ResourceClaim,
    ResourceSlice,
)
from fairlead.serving.observed import DeviceTrouble

EFFECTS: Final = ("NoExecute", "NoSchedule")
"""Effects that move anybody; others only tell."""
_HEALTH_CONDITIONS: Final = ("Ready", "Healthy")

DeviceKey = tuple[str, str, str]
"""Driver, pool, name."""
PoolKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Slice:
    generation: int
    of: int
    """Slices of the pool in this generation."""
    devices: frozenset[str]


class DeviceBook:
    """What the slices of all pools say: which devices have taints, and which there are."""

    def __init__(self) -> None:
        self._slices: dict[PoolKey, dict[str, _Slice]] = {}
        self._tainted: dict[str, dict[DeviceKey, tuple[DeviceTaint, ...]]] = {}  # by name of the slice
        self._taints: dict[DeviceKey, tuple[DeviceTaint, ...]] = {}

    def put(self, slice_: ResourceSlice) -> None:
        """A slice is there, or is different."""
        self.drop(slice_)
        spec, pool = slice_.spec, slice_.spec.pool
        if pool is None:
            return
        names = frozenset(device.name for device in spec.devices)
        of_pool = self._slices.setdefault((spec.driver, pool.name), {})
        of_pool[slice_.metadata.name] = _Slice(pool.generation, pool.resource_slice_count, names)
        tainted = {
            (spec.driver, pool.name, device.name): taints
            for device in spec.devices
            if (taints := tuple(taint for taint in device.taints if taint.effect in EFFECTS))
        }
        if tainted:
            self._tainted[slice_.metadata.name] = tainted
            self._taints.update(tainted)

    def drop(self, slice_: ResourceSlice) -> None:
        """A slice is gone."""
        pool = slice_.spec.pool
        key = (slice_.spec.driver, pool.name if pool is not None else "")
        of_pool = self._slices.get(key, {})
        of_pool.pop(slice_.metadata.name, None)
        if not of_pool:
            self._slices.pop(key, None)
        for device in self._tainted.pop(slice_.metadata.name, {}):
            self._taints.pop(device, None)

    def taints(self, device: DeviceKey) -> tuple[DeviceTaint, ...]:
        return self._taints.get(device, ())

    def lacks(self, device: DeviceKey) -> bool:
        """Whether its pool, complete in its newest generation, is without it."""
        slices = self._slices.get(device[:2], {}).values()
        newest = max((s.generation for s in slices), default=None)
        current = [s for s in slices if s.generation == newest]
        if not current or any(s.of != len(current) for s in current):
            return False
        return not any(device[2] in s.devices for s in current)


def claim_troubles(
    replica: str, claim: ResourceClaim, book: DeviceBook, rules: Iterable[DeviceTaintRule]
) -> Iterator[DeviceTrouble]:
    """Of the devices that a claim of the replica has."""
    allocation = claim.status.allocation
    results = allocation.devices.results if allocation is not None and allocation.devices is not None else ()
    rules = list(rules) if results else []
    for result in results:
        key = (result.driver, result.pool, result.device)
        name = "/".join(key)
        for taint in (*book.taints(key), *_ruled(rules, key)):
            if not any(_tolerates(toleration, taint) for toleration in result.tolerations):
                yield DeviceTrouble(replica, name, taint.effect, _said(taint), _time(taint.time_added))
        if book.lacks(key):
            yield DeviceTrouble(replica, name, "", "it is not offered any more")
    for status in claim.status.devices:
        yield from _condition_troubles(replica, status)


def pod_troubles(replica: str, pod: Pod) -> Iterator[DeviceTrouble]:
    """What the kubelet says of the health of devices that the pod has."""
    for container in pod.status.container_statuses:
        for resource in container.allocated_resources_status:
            for device in resource.resources:
                if device.health == "Unhealthy":
                    said = f": {device.message}" if device.message else ""
                    yield DeviceTrouble(replica, device.resource_id, "", f"health Unhealthy{said}")


def _condition_troubles(replica: str, device: AllocatedDeviceStatus) -> Iterator[DeviceTrouble]:
    for condition in device.conditions:
        if condition.type in _HEALTH_CONDITIONS and condition.status == "False":
            name = f"{device.driver}/{device.pool}/{device.device}"
            said = f"{condition.type} is False: {condition.message or condition.reason or 'no reason given'}"
            yield DeviceTrouble(replica, name, "", said, _time(condition.last_transition_time))


def _ruled(rules: Sequence[DeviceTaintRule], device: DeviceKey) -> list[DeviceTaint]:
    return [r.spec.taint for r in rules if r.spec.taint.effect in EFFECTS and _selects(r, device)]


def _selects(rule: DeviceTaintRule, device: DeviceKey) -> bool:
    """Each field that the selector sets must match; without a selector no device is meant."""
    selector = rule.spec.device_selector
    if selector is None:
        return False
    wanted = (selector.driver, selector.pool, selector.device)
    return all(want in (None, has) for want, has in zip(wanted, device, strict=True))


def _tolerates(toleration: DeviceToleration, taint: DeviceTaint) -> bool:
    """As the API has it: an empty key or effect covers all. For how long it may stay is for those who evict it."""
    if toleration.effect not in ("", taint.effect) or toleration.key not in ("", taint.key):
        return False
    if toleration.operator == "Exists":
        return True
    return toleration.operator in ("", "Equal") and toleration.value == taint.value


def _said(taint: DeviceTaint) -> str:
    return f"taint {taint.key}" + (f"={taint.value}" if taint.value else "")


def _time(text: str | None) -> float | None:
    try:
        return parse_time(text) if text else None
    except ValueError:
        return None
