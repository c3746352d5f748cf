"""From what a chip's files say to its state. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.devices.health import HEALTHY, Health, unhealthy, unknown
from fairlead.devices.vendors.tpu.facts import Chip
from fairlead.devices.vendors.tpu.probe import ChipState

_VFIO_DRIVER = "vfio-pci"


def compute_health(chip: Chip, state: ChipState) -> Health:
    if not state.present:
        return unhealthy("Vanished", f"{chip.name}: PCI function {chip.pci.bus_id} is gone")
    if state.unreadable:
        return unknown("Unreadable", f"{chip.name}: {state.unreadable}")
    if not state.has_node:
        return unhealthy("NoDeviceFile", f"{chip.name}: device file {chip.node} is gone")
    if chip.is_vfio and state.driver != _VFIO_DRIVER:
        bound = state.driver or "no driver"
        return unhealthy("NotBound", f"{chip.name}: {chip.pci.bus_id} is bound to {bound}, expected {_VFIO_DRIVER}")
    if state.status not in ("", "ALIVE"):
        return unhealthy("NotAlive", f"{chip.name}: the kernel driver says {state.status}")
    return HEALTHY


def worst(states: Iterable[Health]) -> Health:
    """The state of a group: that of its first chip that is not well, broken ones before unknown ones."""
    found = list(states)
    for state in ("unhealthy", "unknown"):
        for health in found:
            if health.state == state:
                return health
    return HEALTHY
