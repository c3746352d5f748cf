"""A simulated vendor: one driver's devices in a node of a fleet, made by the vendor's own code, with ordered failures.

The driver's daemon is told nothing of the simulation: it probes, asks for health and prepares claims as for hardware.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.cdi.spec import NO_EDITS, ContainerEdits, DeviceNode
from fairlead.devices.health import HEALTHY, Health, unhealthy
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.vendor import ClaimReference, Grant, Preparation, Vendor
from fairlead.devices.vendors.simulated.failures import Failures, NodeState, compute_state
from fairlead.devices.vendors.simulated.fleet import Fleet, read_fleet
from fairlead.devices.vendors.simulated.hardware import hardware

_LOG = logging.getLogger("fairlead.devices.simulated")

SIMULATED = "simulated.fairlead.dev/simulated"
"""Attribute of every simulated device, so that nobody takes it for a real one."""

DEVICES_VARIABLE = "FAIRLEAD_SIMULATED_DEVICES"
"""In a claim's processes: the devices that the claim got, DRIVER/NAME divided by commas."""

_NOTHING = "/dev/null"


def create_fleet(
    fleet: Fleet | str, nodes: Collection[str] | None = None, *, clock: Clock = SYSTEM
) -> Sequence[SimulatedVendor]:
    """A vendor for each driver of each node of a fleet (a built-in one by name, or a file), or of these nodes alone.

    Raises FleetError.
    """
    found = read_fleet(fleet) if isinstance(fleet, str) else fleet
    if nodes is not None:
        found = found.only(nodes)
    return tuple(
        SimulatedVendor(node.name, made, clock=clock) for node in found.nodes for made in hardware(node, found.seed)
    )


class SimulatedVendor(Vendor):
    """`made` is the vendor whose code and facts it is; its devices are changed in two ways: each says that it is
    simulated, and where a container would get a device node or a driver's file, it gets /dev/null or nothing."""

    name = "simulated"
    is_quick = True

    def __init__(self, node: str, made: Vendor, *, clock: Clock = SYSTEM) -> None:
        self.node = node
        self.driver = made.driver
        self.cdi_kind = made.cdi_kind
        self._made = made
        self._clock = clock
        self._inventory: Inventory | None = None
        self._failures: Failures = {}
        self._state: NodeState | None = None
        self._shown: Inventory | None = None
        self._health: Mapping[str, Health] = {}
        self._look: Callable[[], None] = lambda: None
        self._closed = threading.Event()

    def on_change(self, look: Callable[[], None]) -> None:
        self._look = look

    def set_failures(self, failures: Failures) -> None:
        """What is ordered for the node from now on; the driver looks at once."""
        if failures != self._failures:
            self._failures, self._state = failures, None
            self._look()

    def refresh(self) -> None:
        """Have the driver look at once: time has changed what a failure makes of a device."""
        self._look()

    def changes_at_s(self) -> float | None:
        """Wall time at which the devices change by themselves; None where they do not."""
        return self._now().changes_at_s

    def probe(self) -> Inventory:
        state = self._now()
        # A claim that is prepared in a thread may find, at the same time, that the state has changed.
        shown = self._shown
        if shown is None:
            shown = _without(self._whole(), {d for d, s in state.devices.items() if not s.is_there})
            self._shown = shown
        return shown

    def health(self) -> Mapping[str, Health]:
        self._now()
        return self._health

    def edits(self, device: Device) -> ContainerEdits:
        self._whole()
        return simulated_edits(self._made.edits(device))

    def common_edits(self) -> ContainerEdits:
        self._whole()
        return simulated_edits(self._made.common_edits())

    def extra_cdi_devices(self) -> Mapping[str, ContainerEdits]:
        self._whole()
        return {name: simulated_edits(edits) for name, edits in self._made.extra_cdi_devices().items()}

    def resume(self, claims: Mapping[str, Sequence[str]]) -> None:
        self._made.resume(claims)

    def prepare(self, claim: ClaimReference, grants: Sequence[Grant]) -> Preparation:
        state = self._now()
        delay_s = max((state.of(grant.device.name).prepare_delay_s for grant in grants), default=0.0)
        if delay_s:
            _LOG.info("claim %s: %s on %s is slow, %g s", claim, self.driver, self.node, delay_s)
            self._closed.wait(delay_s)
        prepared = self._made.prepare(claim, grants)
        names = ",".join(dict.fromkeys(f"{self.driver}/{grant.device.name}" for grant in grants))
        edits = simulated_edits(prepared.edits)
        return replace(
            prepared,
            edits=_with_env(edits, f"{DEVICES_VARIABLE}={names}"),
            device_edits={name: simulated_edits(e) for name, e in prepared.device_edits.items()},
        )

    def release(self, claim: ClaimReference, devices: Sequence[str]) -> None:
        self._made.release(claim, devices)

    def device_classes(self) -> Sequence[Mapping[str, Any]]:
        return self._made.device_classes()

    def close(self) -> None:
        self._closed.set()
        self._made.close()

    def _whole(self) -> Inventory:
        if self._inventory is None:
            self._inventory = _marked(self._made.probe())
        return self._inventory

    def _now(self) -> NodeState:
        """The state at this moment. Objects stay the same while nothing changes: others compare by identity first."""
        state, now_s = self._state, self._clock.wall_s()
        if state is None or (state.changes_at_s is not None and now_s >= state.changes_at_s):
            devices = self._whole().devices
            state = compute_state(self._failures, self.driver, devices, now_s)
            if self._state is None or state.devices != self._state.devices:
                self._shown = None
                self._health = {device.name: _health(state, device.name) for device in devices}
            self._state = state
        return state


def _health(state: NodeState, device: str) -> Health:
    found = state.of(device)
    if not found.is_there:
        return unhealthy("Vanished", "the simulated device was taken out")
    return HEALTHY if found.health == HEALTHY else found.health


def _marked(inventory: Inventory) -> Inventory:
    devices = tuple(replace(d, attributes={**d.attributes, SIMULATED: True}) for d in inventory.devices)
    return replace(inventory, devices=devices)


def _without(inventory: Inventory, names: set[str]) -> Inventory:
    if not names:
        return inventory
    devices = tuple(device for device in inventory.devices if device.name not in names)
    used = {counters for device in devices for counters in device.consumes}
    return replace(
        inventory,
        devices=devices,
        # A card that is gone takes its counters with it.
        counters={name: counters for name, counters in inventory.counters.items() if name in used},
        links=tuple(link for link in inventory.links if link.a not in names and link.b not in names),
    )


def simulated_edits(edits: ContainerEdits) -> ContainerEdits:
    """The edits without what only hardware and its driver have: device nodes lead to /dev/null; mounts, hooks, network
    interfaces and cache partitions are left out; the environment stays."""
    if edits == NO_EDITS:
        return edits
    nodes = tuple(
        DeviceNode(node.path, host_path=_NOTHING, permissions=node.permissions or "rw") for node in edits.device_nodes
    )
    return ContainerEdits(env=edits.env, device_nodes=nodes)


def _with_env(edits: ContainerEdits, *variables: str) -> ContainerEdits:
    return ContainerEdits(env=(*edits.env, *variables), device_nodes=edits.device_nodes)
