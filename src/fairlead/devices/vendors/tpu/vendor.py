"""TPU chips and groups of them as a driver's devices."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from fairlead.devices.cdi.spec import ContainerEdits, DeviceNode
from fairlead.devices.errors import ClaimError, ProbeError
from fairlead.devices.health import Health
from fairlead.devices.host import Host
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.vendor import ClaimReference, Grant, Preparation, Vendor
from fairlead.devices.vendors.parameters import read_parameters
from fairlead.devices.vendors.tpu.environment import claim_environment
from fairlead.devices.vendors.tpu.facts import Chip, TpuHost
from fairlead.devices.vendors.tpu.health import compute_health, worst
from fairlead.devices.vendors.tpu.inventory import build, chip_groups, group_name
from fairlead.devices.vendors.tpu.probe import ChipState, read_host, read_state

DRIVER = "tpu.google.com"
CDI_KIND = "google.com/tpu"
VFIO_CONTROL = "/dev/vfio/vfio"

_LOG = logging.getLogger("fairlead.devices.tpu")


class TpuParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a claim or class may say of its chips. `environment`: whether containers get libtpu's variables at all.
    `worker_environment`: whether a host of a slice says which worker it is; turn it off where the workload numbers its
    own pods (JobSet, LeaderWorkerSet), since variables of the device win over those of the pod."""

    environment: bool = True
    worker_environment: bool = True


class TpuVendor(Vendor):
    """`environment` are the platform's variables (those of this process by default). `facts` and `state` stand for the
    machine where it is simulated; facts without a state are of chips that are well."""

    name = "tpu"

    def __init__(
        self,
        host: Host | None = None,
        node: str = "",
        *,
        groups: bool = False,
        environment: Mapping[str, str] | None = None,
        facts: Callable[[], TpuHost] | None = None,
        state: Callable[[Chip], ChipState] | None = None,
    ) -> None:
        self.driver = DRIVER
        self.cdi_kind = CDI_KIND
        machine = host or Host()
        told = dict(os.environ if environment is None else environment)
        self._read_host = facts or (lambda: read_host(machine, told))
        if state is None and facts is not None:
            state = _well
        self._read_state = state or (lambda chip: read_state(machine, chip))
        self._node = node
        self._groups = groups
        self._facts = TpuHost()
        # name -> its chips: every device ever seen, so that a claim can be given back after its chip dropped.
        self._seen: dict[str, tuple[Chip, ...]] = {}
        self._reported: Mapping[str, str] = {}

    def probe(self) -> Inventory:
        """Chips that can be described. One that is there and cannot be read just now stays as it was last seen, and its
        health says the rest: a pod must not end because a file was cut off. ProbeError where chips are there and
        nothing is known of any."""
        facts = self._read_host()
        self._report({entry.name: entry.reason for entry in (*facts.skipped, *facts.unclear)})
        facts = self._with_unread(facts)
        if facts.skipped and not facts.chips:
            first = facts.skipped[0]
            raise ProbeError(f"none of {len(facts.skipped)} TPU chips can be described; {first.name}: {first.reason}")
        self._facts = facts
        self._seen |= {chip.name: (chip,) for chip in facts.chips}
        if self._groups:
            self._seen |= {group_name(group): group for group in chip_groups(facts)}
        return build(facts, self._node, groups=self._groups)

    def edits(self, device: Device) -> ContainerEdits:
        paths = [path for chip in self._find(device.name) for path in (chip.node, *chip.more_nodes)]
        return ContainerEdits(device_nodes=[_device_node(path) for path in paths])

    def common_edits(self) -> ContainerEdits:
        if any(chip.is_vfio for chip in self._facts.chips):
            return ContainerEdits(device_nodes=[_device_node(VFIO_CONTROL)])
        return ContainerEdits()

    def health(self) -> Mapping[str, Health]:
        states = {chip.name: compute_health(chip, self._read_state(chip)) for chip in self._facts.chips}
        found = dict(states)
        if self._groups:
            for group in chip_groups(self._facts):
                found[group_name(group)] = worst(states[chip.name] for chip in group)
        return found

    def prepare(self, claim: ClaimReference, grants: Sequence[Grant]) -> Preparation:
        indexes: set[int] = set()
        with_worker = True
        for grant in grants:
            parameters = read_parameters(claim, grant, TpuParameters)
            with_worker = with_worker and parameters.worker_environment
            if parameters.environment and not grant.admin_access:
                indexes |= {chip.index for chip in self._find(grant.device.name)}
        return Preparation(edits=ContainerEdits(env=claim_environment(self._facts, indexes, claim, worker=with_worker)))

    def device_classes(self) -> Sequence[Mapping[str, Any]]:
        chips = _device_class(self.driver, self.driver, "chip", "google.com/tpu")
        return (chips, _device_class(f"group.{self.driver}", self.driver, "group")) if self._groups else (chips,)

    def _with_unread(self, facts: TpuHost) -> TpuHost:
        """The facts, with the chips of the former look that are still there and that they leave out."""
        described = {chip.pci.bus_id for chip in facts.chips}
        unread = [
            chip for chip in self._facts.chips if chip.pci.bus_id not in described and self._read_state(chip).present
        ]
        if not unread:
            return facts
        chips = sorted((*facts.chips, *unread), key=lambda chip: chip.pci.bus_id)
        numbered = tuple(replace(chip, index=index) for index, chip in enumerate(chips))
        generation = facts.generation or self._facts.generation
        # What the platform tells was checked against the chips that were described, which are not all.
        return replace(facts, generation=generation, chips=numbered, slice=self._facts.slice)

    def _find(self, name: str) -> tuple[Chip, ...]:
        chips = self._seen.get(name)
        if chips is None:
            raise ClaimError(
                f'driver "{self.driver}" has no device "{name}" on this node; it may have dropped', retry=False
            )
        return chips

    def _report(self, reasons: Mapping[str, str]) -> None:
        """Say once what is left out and why, not with every look."""
        for name, reason in reasons.items():
            if self._reported.get(name) != reason:
                _LOG.warning("TPU: %s is left out: %s", name, reason)
        self._reported = dict(reasons)


def create(host: Host, node: str, *, groups: bool = False) -> Sequence[Vendor]:
    """The vendor of this machine, or of the tree below `host`. `groups`: whether groups of chips are offered, too."""
    return (TpuVendor(host, node, groups=groups),)


def _device_node(path: str) -> DeviceNode:
    return DeviceNode(path=path, host_path=path, permissions="rw")


def _well(_: Chip) -> ChipState:
    return ChipState(status="ALIVE", driver="vfio-pci")


def _device_class(name: str, driver: str, kind: str, extended_resource: str = "") -> Mapping[str, Any]:
    expression = f'device.driver == "{driver}" && device.attributes["{driver}"].type == "{kind}"'
    spec: dict[str, Any] = {"selectors": [{"cel": {"expression": expression}}]}
    if extended_resource:
        spec["extendedResourceName"] = extended_resource
    return {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": name}, "spec": spec}
