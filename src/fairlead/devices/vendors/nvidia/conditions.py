"""The state of every device of a node's GPUs, look by look: what was normal is remembered, what is heard is counted.

`health` decides; this keeps what a decision needs from one look to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from fairlead.clock import Clock
from fairlead.devices.health import HEALTHY, Health, unhealthy
from fairlead.devices.vendors.nvidia import mig
from fairlead.devices.vendors.nvidia.events import EventMonitor
from fairlead.devices.vendors.nvidia.facts import Gpu, MigDevice
from fairlead.devices.vendors.nvidia.health import (
    Baseline,
    GpuState,
    Xid,
    baseline,
    compute_health,
    concerns,
    read_state,
)
from fairlead.devices.vendors.nvidia.inventory import Offer, Part, Partition, divides, parts
from fairlead.devices.vendors.nvidia.nvml import GpuInstance, Nvml, NvmlError, RecoveryAction

_XID_HOLD_S: Final = 60.0
"""A driver that tells of needed repairs and tells of none: after so long an XID no longer counts. Older drivers cannot
tell, and there it counts until this process is started anew, after the GPU was reset."""
_NO_INSTANCE: Final = (-1, -1)


class Conditions:
    """`made` is shared with whoever makes partitions: name -> the instance that it is now."""

    def __init__(
        self, nvml: Nvml, monitor: EventMonitor, offer: Offer, made: Mapping[str, mig.Instance], clock: Clock
    ) -> None:
        self._nvml = nvml
        self._monitor = monitor
        self._offer = offer
        self._made = made
        self._clock = clock
        # GPU's uuid -> what was normal; and the instances that no claim explains.
        self._normal: dict[str, Baseline] = {}
        self._strangers: dict[str, tuple[GpuInstance, ...]] = {}

    def look(self, gpu: Gpu) -> dict[str, Health]:
        """By name of device."""
        state = read_state(self._nvml, gpu)
        normal = self._learn(gpu, state)
        xids = self._xids(gpu, state)
        found: dict[str, Health] = {}
        for name, part in parts(gpu, self._offer):
            mine = [xid for xid in xids if concerns(xid, *self._instance_of(name, part))]
            health = compute_health(gpu, state, normal, mine)
            found[name] = health if health != HEALTHY else self._stranger_health(gpu, part)
        return found

    def find_strangers(self, gpus: Sequence[Gpu], held: frozenset[str]) -> None:
        """Instances of GPUs that are divided on demand which are none of `held`, the devices of claims."""
        self._strangers = {}
        for gpu in gpus:
            if not divides(gpu, self._offer):
                continue
            ours = [part for name, part in parts(gpu, self._offer) if name in held and isinstance(part, Partition)]
            try:
                there = mig.existing(self._nvml, gpu)
            except NvmlError:
                continue
            alone = tuple(one for one in there if not any(mig.matches(partition, one) for partition in ours))
            if alone:
                self._strangers[gpu.uuid] = alone

    def forget_instance(self, gpu: Gpu, instance: mig.Instance) -> None:
        self._monitor.forget_instance(gpu.uuid, instance.gpu_instance)

    def _learn(self, gpu: Gpu, state: GpuState) -> Baseline:
        if state.lost or state.unreadable:
            return self._normal.get(gpu.uuid, Baseline())
        normal = self._normal.setdefault(gpu.uuid, baseline(gpu, state))
        if state.ecc_uncorrected is not None and state.ecc_uncorrected < normal.ecc_uncorrected:
            # Counted anew since a reset.
            normal = replace(normal, ecc_uncorrected=state.ecc_uncorrected)
        if not gpu.mig_enabled:
            normal = replace(normal, links=normal.links | state.links_up)
        self._normal[gpu.uuid] = normal
        return normal

    def _xids(self, gpu: Gpu, state: GpuState) -> Sequence[Xid]:
        if state.recovery == RecoveryAction.NONE:
            self._monitor.forget(gpu.uuid, before_s=self._clock.monotonic_s() - _XID_HOLD_S)
        return self._monitor.xids().get(gpu.uuid, ())

    def _instance_of(self, name: str, part: Part) -> tuple[int | None, int | None]:
        """A partition that does not exist has no instance that an XID could be about."""
        if isinstance(part, MigDevice):
            return part.gpu_instance, part.compute_instance
        if isinstance(part, Partition):
            made = self._made.get(name)
            return (made.gpu_instance, made.compute_instance) if made else _NO_INSTANCE
        return None, None

    def _stranger_health(self, gpu: Gpu, part: Part) -> Health:
        """An instance that somebody made by hand takes its place from whatever overlaps it. One that is just what a
        partition would be is taken over by the partition."""
        for instance in self._strangers.get(gpu.uuid, ()):
            blocks = isinstance(part, Gpu) or (
                isinstance(part, Partition) and mig.overlaps(part, instance) and not mig.matches(part, instance)
            )
            if blocks:
                return unhealthy(
                    "MigInstanceInTheWay",
                    f"{gpu.name}: GPU instance {instance.id} at memory slice {instance.start} is no claim's; see "
                    f"nvidia-smi mig -lgi",
                    "NoSchedule",
                )
        return HEALTHY
