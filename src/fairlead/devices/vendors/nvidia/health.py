"""From what a GPU says of itself to the state of each of its devices.

Worst first: one device has one state. What ends the work of those who hold the GPU (it fell off the bus, it wants a
reset, memory gave wrong data) ends their pods; what only makes it a bad choice for new ones (throttled, short of
NVLinks, a repair that waits for the next reset) keeps new ones away.

Sources: NVIDIA's XID catalogue; k8s-device-plugin and the DRA driver for which XIDs are the application's own; nvml.h.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fairlead.devices.errors import DeviceError
from fairlead.devices.health import HEALTHY, Effect, Health, unhealthy, unknown
from fairlead.devices.vendors.nvidia.facts import FABRIC_COMPLETED, Fabric, Gpu
from fairlead.devices.vendors.nvidia.nvml import GONE, ClockReason, Code, Nvml, NvmlError, RecoveryAction, known

APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
"""Graphics engine exception, memory page fault, stopped processing, preemptive clean-up, video processor exception,
context switch time-out: a program's own fault, which leaves the GPU well."""
FATAL_XIDS = frozenset({46, 48, 62, 64, 79, 95, 110, 119, 120, 136, 140, 143, 151, 158})
"""The GPU stopped, lost its bus or its firmware, or gave wrong data beyond one program: what runs on it is over. After
other XIDs programs may go on."""

_DEGRADED_BANDWIDTH, _ROUTE_RECOVERY, _ROUTE_UNHEALTHY = 0, 2, 4
"""Places of two-bit fields in a fabric's health mask; 1 in a field means yes (NVML_GPU_FABRIC_HEALTH_MASK_…)."""
_WAITS: Mapping[RecoveryAction, Effect] = {
    RecoveryAction.DRAIN_P2P: "NoSchedule",
    RecoveryAction.DRAIN_AND_RESET: "NoSchedule",
}


@dataclass(frozen=True, slots=True)
class Xid:
    """An XID error; `at_s` monotonic. Instances are None where it concerns the whole GPU."""

    number: int
    at_s: float
    gpu_instance: int | None = None
    compute_instance: int | None = None


@dataclass(frozen=True, slots=True)
class GpuState:
    """One look at a GPU. None: the model does not tell. `unreadable` says why nothing could be read."""

    lost: bool = False
    unreadable: str = ""
    ecc_uncorrected: int | None = None
    remap_failure: bool = False
    remap_pending: bool = False
    retirement_pending: bool = False
    clock_reasons: ClockReason | None = None
    recovery: RecoveryAction | None = None
    links_up: frozenset[int] = frozenset()
    fabric: Fabric | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was normal when the GPU was first seen: uncorrected errors then, and the links that were or should be up."""

    ecc_uncorrected: int = 0
    links: frozenset[int] = frozenset()


def read_state(nvml: Nvml, gpu: Gpu) -> GpuState:
    """Never raises: what cannot be read is a state."""
    uuid = gpu.uuid
    try:
        rows = known(nvml.remapped_rows, uuid)
        info = known(nvml.fabric, uuid) if gpu.fabric is not None else None
        cluster = gpu.fabric.cluster_uuid if gpu.fabric else ""
        return GpuState(
            links_up=_present(nvml, gpu),
            ecc_uncorrected=known(nvml.ecc_uncorrected, uuid),
            remap_failure=rows is not None and rows.failure,
            remap_pending=rows is not None and rows.pending,
            retirement_pending=bool(known(nvml.retired_pages_pending, uuid)) if rows is None else False,
            clock_reasons=known(nvml.clock_reasons, uuid),
            recovery=known(nvml.recovery_action, uuid),
            fabric=None if info is None else Fabric(info.state, info.status, cluster, info.clique_id, info.health_mask),
        )
    except NvmlError as error:
        if error.code in GONE:
            return GpuState(lost=True)
        if error.code == Code.RESET_REQUIRED:
            return GpuState(recovery=RecoveryAction.GPU_RESET)
        return GpuState(unreadable=str(error))
    except DeviceError as error:
        return GpuState(unreadable=str(error))


def baseline(gpu: Gpu, state: GpuState) -> Baseline:
    """Behind switches every link belongs up; a bridge between two cards may leave some unused. A GPU in MIG mode has
    none."""
    switched = any(link.remote == "switch" for link in gpu.nvlinks)
    links = () if gpu.mig_enabled else (link.link for link in gpu.nvlinks if link.active or switched)
    return Baseline(state.ecc_uncorrected or 0, frozenset(links))


def compute_health(gpu: Gpu, state: GpuState, normal: Baseline, xids: Collection[Xid]) -> Health:
    """The state of a whole GPU, or with the XIDs that concern it, of a part of one."""
    return _fatal(gpu, state, normal) or _xid_health(gpu, xids) or _repair(gpu, state) or _impaired(gpu, state, normal)


def concerns(xid: Xid, gpu_instance: int | None, compute_instance: int | None) -> bool:
    """Whether an XID is about a MIG device, or about a whole GPU where the instances are None."""
    if xid.gpu_instance is None or gpu_instance is None:
        return xid.gpu_instance is None or gpu_instance is None
    return xid.gpu_instance == gpu_instance and xid.compute_instance in (None, compute_instance)


def _fatal(gpu: Gpu, state: GpuState, normal: Baseline) -> Health | None:
    if state.lost:
        return unhealthy("GpuLost", f"{gpu.name} ({gpu.pci.bus_id}, {gpu.uuid}) has fallen off the bus")
    if state.unreadable:
        return unknown("Unreadable", f"{gpu.name}: {state.unreadable}")
    if state.recovery not in (None, RecoveryAction.NONE):
        assert state.recovery is not None
        action = state.recovery.name.lower().replace("_", " ")
        return unhealthy(
            "RecoveryNeeded",
            f"{gpu.name}: the driver asks for: {action}",
            _WAITS.get(state.recovery, "NoExecute"),
        )
    if state.ecc_uncorrected is not None and state.ecc_uncorrected > normal.ecc_uncorrected:
        new = state.ecc_uncorrected - normal.ecc_uncorrected
        return unhealthy("EccUncorrectable", f"{gpu.name}: {new} uncorrectable memory errors since it was first seen")
    return None


def _xid_health(gpu: Gpu, xids: Collection[Xid]) -> Health | None:
    if not xids:
        return None
    worst = max(xids, key=lambda xid: (xid.number in FATAL_XIDS, xid.at_s))
    effect: Effect = "NoExecute" if worst.number in FATAL_XIDS else "NoSchedule"
    return unhealthy("XidError", f"{gpu.name}: XID {worst.number}; see the kernel log for NVRM: Xid", effect)


def _repair(gpu: Gpu, state: GpuState) -> Health | None:
    if state.remap_failure:
        return unhealthy("RowRemapFailure", f"{gpu.name}: a broken memory row has no spare left", "NoSchedule")
    if state.remap_pending:
        return unhealthy("RowRemapPending", f"{gpu.name}: a memory row is replaced at the next reset", "NoSchedule")
    if state.retirement_pending:
        return unhealthy("PageRetirementPending", f"{gpu.name}: memory pages retire at the next reset", "NoSchedule")
    return None


def _impaired(gpu: Gpu, state: GpuState, normal: Baseline) -> Health:
    down = [] if gpu.mig_enabled else sorted(normal.links - state.links_up)
    if down:
        numbers = ", ".join(map(str, down))
        return unhealthy("NvLinkDown", f"{gpu.name}: NVLink {numbers} of {len(normal.links)} is down", "NoSchedule")
    fabric = _fabric_problem(state.fabric)
    if fabric is not None:
        return unhealthy(fabric[0], f"{gpu.name}: {fabric[1]}", "NoSchedule")
    slowed = state.clock_reasons or ClockReason(0)
    if slowed & (ClockReason.HARDWARE_THERMAL | ClockReason.SOFTWARE_THERMAL):
        return unhealthy("ThermalSlowdown", f"{gpu.name}: clocks are held down, it is too hot", "NoSchedule")
    if slowed & ClockReason.HARDWARE_POWER_BRAKE:
        return unhealthy("PowerSlowdown", f"{gpu.name}: clocks are held down by the power supply", "NoSchedule")
    if slowed & ClockReason.HARDWARE_SLOWDOWN:
        return unhealthy("HardwareSlowdown", f"{gpu.name}: clocks are held down by hardware", "NoSchedule")
    return HEALTHY


def _fabric_problem(fabric: Fabric | None) -> tuple[str, str] | None:
    if fabric is None:
        return None
    if fabric.state != FABRIC_COMPLETED:
        return "FabricNotReady", "the fabric manager has not finished with it; is nvidia-fabricmanager running?"
    if fabric.status:
        return "FabricFailed", f"joining the NVLink fabric ended with {Code(fabric.status).name}"
    for place, problem in (
        (_ROUTE_UNHEALTHY, "routes through the NVLink fabric are broken"),
        (_ROUTE_RECOVERY, "routes through the NVLink fabric are being repaired"),
        (_DEGRADED_BANDWIDTH, "the NVLink fabric runs at reduced bandwidth"),
    ):
        if fabric.health_mask >> place & 0x3 == 1:
            return "FabricDegraded", problem
    return None


def _present(nvml: Nvml, gpu: Gpu) -> frozenset[int]:
    """Links that are up. Asks first what every model answers, so that a lost GPU is known as such."""
    nvml.minor(gpu.uuid)
    return frozenset(link.link for link in gpu.nvlinks if known(nvml.link_active, gpu.uuid, link.link))
