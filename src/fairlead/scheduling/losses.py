"""What pods have lost under their feet: devices that are tainted or gone, nodes that are tainted or gone. Pure.

Only what says so counts as a loss. A pool without slices (a driver that restarts or is uninstalled) or with some of
them missing says nothing about its devices; a complete generation without the device does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from fairlead.clock import parse_time
from fairlead.kube.objects import Node, Pod
from fairlead.kube.objects.devices import DeviceTaint, DeviceTaintRule, ResourceClaim, ResourceSlice
from fairlead.scheduling.allocator.taints import taints_by_rule, tolerates

GONE_FOR_S: Final = 1.0
"""How long a device has to be gone: a driver may put it into another pool or slice."""

NO_EXECUTE: Final = "NoExecute"

DeviceKey = tuple[str, str, str]
"""Driver, pool, name."""
PoolKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Loss:
    """What a pod has lost, or is about to lose."""

    reason: str
    """CamelCase, for conditions and Events."""
    what: str
    """Half a sentence: `device gpu.example.com/node-1/gpu-0 has the taint fault=xid-79:NoExecute`."""
    stays_s: float = 0.0
    """How long the pod may stay, counted from `since_s`."""
    since_s: float | None = None
    """Wall time at which it began, where that is known."""


class _Toleration(Protocol):
    @property
    def toleration_seconds(self) -> int | None: ...


class Pools:
    """The devices in the newest generation of every pool, and those with NoExecute taints."""

    def __init__(self) -> None:
        self._slices: dict[PoolKey, dict[str, ResourceSlice]] = {}
        self._devices: dict[PoolKey, frozenset[str] | None] = {}
        self.tainted: dict[DeviceKey, tuple[DeviceTaint, ...]] = {}

    def set(self, slice_: ResourceSlice) -> PoolKey:
        """A slice is there, or is different. Returns its pool."""
        return self._put(slice_, slice_)

    def remove(self, slice_: ResourceSlice) -> PoolKey:
        """A slice is gone."""
        return self._put(slice_, None)

    def lacks(self, device: DeviceKey) -> bool:
        """Whether a pool says, by being complete without it, that the device is no more."""
        driver, pool, name = device
        present = self._present((driver, pool))
        return present is not None and name not in present

    def _put(self, old: ResourceSlice, new: ResourceSlice | None) -> PoolKey:
        key = (old.spec.driver, old.spec.pool.name if old.spec.pool is not None else "")
        slices = self._slices.setdefault(key, {})
        before = slices.pop(old.metadata.name, None)
        for device in before.spec.devices if before is not None else ():
            self.tainted.pop((*key, device.name), None)
        if new is not None:
            slices[new.metadata.name] = new
            for device in new.spec.devices:
                taints = tuple(taint for taint in device.taints if taint.effect == NO_EXECUTE)
                if taints:
                    self.tainted[(*key, device.name)] = taints
        if not slices:
            del self._slices[key]
        self._devices.pop(key, None)
        return key

    def _present(self, key: PoolKey) -> frozenset[str] | None:
        """Names in the newest generation; None where it is not complete."""
        if key not in self._devices:
            self._devices[key] = _names(list(self._slices.get(key, {}).values()))
        return self._devices[key]


def _names(slices: Sequence[ResourceSlice]) -> frozenset[str] | None:
    newest = max((s.spec.pool.generation for s in slices if s.spec.pool is not None), default=None)
    current = [s for s in slices if s.spec.pool is not None and s.spec.pool.generation == newest]
    if not current or any(s.spec.pool is None or s.spec.pool.resource_slice_count != len(current) for s in current):
        return None
    return frozenset(device.name for s in current for device in s.spec.devices)


def device_losses(claim: ResourceClaim, pools: Pools, rules: Iterable[DeviceTaintRule]) -> list[Loss]:
    """What the consumers of a claim have lost of its devices."""
    devices = claim.status.allocation.devices if claim.status.allocation is not None else None
    losses = []
    for result in devices.results if devices is not None else ():
        key = (result.driver, result.pool, result.device)
        name = "/".join(key)
        if pools.lacks(key):
            losses.append(Loss("DeviceGone", f"device {name} is not offered any more", GONE_FOR_S))
            continue
        ruled = taints_by_rule(rules, *key)
        for taint in (*pools.tainted.get(key, ()), *(taint for taint in ruled if taint.effect == NO_EXECUTE)):
            stays_s = _stays_s([t for t in result.tolerations if tolerates(t, taint)])
            if stays_s is not None:
                shown = f"{taint.key}={taint.value}" if taint.value else taint.key
                what = f"device {name} has the taint {shown}:{taint.effect}"
                losses.append(Loss("DeviceTainted", what, stays_s, _since_s(taint.time_added)))
    return losses


def node_losses(pod: Pod, node: Node | None) -> list[Loss]:
    """What a bound pod has lost with its node; None for a node that is gone."""
    name = pod.spec.node_name
    if node is None:
        return [Loss("NodeGone", f"node {name} is gone")]
    losses = []
    for taint in node.spec.taints:
        if taint.effect != NO_EXECUTE:
            continue
        stays_s = _stays_s([t for t in pod.spec.tolerations if _covers(t, taint)])
        if stays_s is not None:
            what = f"node {name} has the taint {taint.key}:{taint.effect}"
            losses.append(Loss("NodeTainted", what, stays_s, _since_s(taint.time_added)))
    return losses


def _covers(toleration: object, taint: object) -> bool:
    # Tolerations and taints of nodes have the same fields and the same meaning as those of devices.
    return tolerates(toleration, taint)  # type: ignore[arg-type]


def _stays_s(tolerations: Sequence[_Toleration]) -> float | None:
    """How long what tolerates a taint may stay; None for ever."""
    if not tolerations:
        return 0.0
    limits = [t.toleration_seconds for t in tolerations if t.toleration_seconds is not None]
    return float(max(0, min(limits))) if limits else None


def _since_s(time_added: str | None) -> float | None:
    try:
        return parse_time(time_added) if time_added else None
    except ValueError:
        return None
