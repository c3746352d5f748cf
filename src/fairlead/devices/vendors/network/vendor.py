"""Network ports as a driver's devices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairlead.devices.cdi.spec import ContainerEdits
from fairlead.devices.errors import ClaimError, ProbeError
from fairlead.devices.health import HEALTHY, Health
from fairlead.devices.host import Host, PciLink
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.vendor import ClaimReference, DeviceReport, Grant, NetworkData, Preparation, Vendor
from fairlead.devices.vendors.network.changed import Before, Changes
from fairlead.devices.vendors.network.classes import device_classes
from fairlead.devices.vendors.network.edits import (
    VHOST_NODES,
    device_edits,
    device_node,
    move_interface,
    rdma_environment,
)
from fairlead.devices.vendors.network.facts import NetworkPort, NetworkPorts
from fairlead.devices.vendors.network.health import compute_health
from fairlead.devices.vendors.network.inventory import build
from fairlead.devices.vendors.network.links import Links, NetlinkLinks
from fairlead.devices.vendors.network.parameters import Move, NetworkParameters, Wish, plan_moves
from fairlead.devices.vendors.network.probe import current_name, read_current, read_ports
from fairlead.devices.vendors.parameters import read_parameters

DRIVER = "dra.net"
CDI_KIND = "dra.net/port"
STATE_FOLDER = "/run/fairlead/network"
CONDITIONS = ("Ready", "NetworkReady")

_LOG = logging.getLogger("fairlead.devices.network")


class NetworkVendor(Vendor):
    """`facts` stand for the machine where it is simulated: its ports are well, and their interfaces do not move."""

    name = "network"

    def __init__(
        self,
        host: Host | None = None,
        *,
        links: Links | None = None,
        facts: Callable[[], NetworkPorts] | None = None,
        state_folder: Path | None = None,
    ) -> None:
        self.driver = DRIVER
        self.cdi_kind = CDI_KIND
        self._host = host or Host()
        self._is_simulated = facts is not None
        self._read_ports = facts or (lambda: read_ports(self._host, self._facts.needed))
        self._links: Links = links or NetlinkLinks()
        self._facts = NetworkPorts()
        # name -> port: every one ever seen, with its interface as it was on the host.
        self._seen: dict[str, NetworkPort] = {}
        self._reported: Mapping[str, str] = {}
        # claim uid -> names of its devices.
        self._held: dict[str, frozenset[str]] = {}
        self._changes = Changes(state_folder)

    def probe(self) -> Inventory:
        """Ports that can be given away. One that a claim has keeps its interface's description while the interface is
        in the pod; one that cannot be read just now stays as it was last seen. ProbeError where cards are there and
        nothing is known of any."""
        self._restore_returned()
        facts = self._read_ports()
        self._report({entry.name: entry.reason for entry in facts.skipped})
        ports = {port.name: self._as_known(port) for port in facts.ports}
        unreadable = [entry for entry in facts.skipped if not entry.by_rule]
        held = self._held_names()
        for entry in facts.skipped:
            known = self._seen.get(entry.name)
            if known is not None and (entry.name in held or not entry.by_rule) and self._is_there(known):
                ports[entry.name] = known
        if unreadable and not ports:
            first = unreadable[0]
            raise ProbeError(f"none of {len(unreadable)} network cards can be described; {first.name}: {first.reason}")
        ordered = tuple(sorted(ports.values(), key=lambda port: (port.pci.bus_id, port.port)))
        self._facts = NetworkPorts(ordered, facts.common_nodes, facts.skipped, facts.needed)
        self._seen |= ports
        return build(self._facts)

    def edits(self, device: Device) -> ContainerEdits:
        return device_edits(self._find(device.name))

    def common_edits(self) -> ContainerEdits:
        if any(port.rdma is not None for port in self._facts.ports):
            return ContainerEdits(device_nodes=[device_node(path) for path in self._facts.common_nodes])
        return ContainerEdits()

    def health(self) -> Mapping[str, Health]:
        if self._is_simulated:
            return {port.name: HEALTHY for port in self._facts.ports}
        current = read_current(self._host, self._facts.ports)
        held = self._held_names()
        return {
            port.name: compute_health(port, current[port.name], self._link(port), held=port.name in held)
            for port in self._facts.ports
        }

    def resume(self, claims: Mapping[str, Sequence[str]]) -> None:
        self._held = {uid: frozenset(names) for uid, names in claims.items()}

    def prepare(self, claim: ClaimReference, grants: Sequence[Grant]) -> Preparation:
        ports = {grant.device.name: self._find(grant.device.name) for grant in grants}
        parameters = {grant.device.name: read_parameters(claim, grant, NetworkParameters) for grant in grants}
        wishes = [
            Wish(
                grant.device.name,
                grant.request,
                parameters[grant.device.name],
                self._host_name(ports[grant.device.name]),
            )
            for grant in grants
            if not grant.admin_access
        ]
        moves = plan_moves(claim, wishes)
        is_repeated = claim.uid in self._held
        self._check_interfaces(claim, wishes, is_repeated=is_repeated)
        by_device = {move.device: move for move in moves}
        addresses = {move.device: self._configure(claim, move, is_repeated=is_repeated) for move in moves}
        self._held[claim.uid] = frozenset(grant.device.name for grant in grants if not grant.admin_access)
        return Preparation(
            edits=rdma_environment([ports[name] for name, asked in parameters.items() if asked.environment]),
            device_edits={
                name: edits
                for name, asked in parameters.items()
                if (edits := _claim_edits(by_device.get(name), asked)) != ContainerEdits()
            },
            reports={name: _report(port, by_device.get(name), addresses.get(name, ())) for name, port in ports.items()},
        )

    def release(self, claim: ClaimReference, devices: Sequence[str]) -> None:
        """The kernel brings an interface back to the host when its pod's namespace ends, with the name and MTU that it
        had there. It gets its own again, now or (where it is not back yet) with a later look."""
        left = self._held.pop(claim.uid, frozenset()) - set(devices)
        if left:
            self._held[claim.uid] = left
        self._restore_returned()

    def device_classes(self) -> Sequence[Mapping[str, Any]]:
        return device_classes(self.driver)

    def _find(self, name: str) -> NetworkPort:
        port = self._seen.get(name)
        if port is None:
            raise ClaimError(f'driver "{self.driver}" has no device "{name}" on this node; it may be gone', retry=False)
        return port

    def _as_known(self, port: NetworkPort) -> NetworkPort:
        """A port whose interface (or RDMA device) a claim has taken into a pod is described as it was on the host."""
        known = self._seen.get(port.name)
        if known is None or port.name not in self._held_names():
            return port
        return replace(port, interface=port.interface or known.interface, rdma=port.rdma or known.rdma)

    def _held_names(self) -> frozenset[str]:
        return frozenset().union(*self._held.values())

    def _is_there(self, port: NetworkPort) -> bool:
        return self._host.exists(f"/sys/bus/pci/devices/{port.pci.bus_id}")

    def _link(self, port: NetworkPort) -> PciLink | None:
        try:
            return self._host.pci_link(port.pci.bus_id)
        except ProbeError:
            return None

    def _host_name(self, port: NetworkPort) -> str:
        return "" if port.interface is None else port.interface.name

    def _check_interfaces(self, claim: ClaimReference, wishes: Sequence[Wish], *, is_repeated: bool) -> None:
        """A port with neither interface nor RDMA nor VFIO files gives a pod nothing."""
        for wish in wishes:
            port = self._find(wish.device)
            if port.interface is None and port.rdma is None and port.vfio_group is None and not is_repeated:
                raise ClaimError(
                    f"claim {claim}: the host has no interface of {wish.device}; another pod may still have it"
                )

    def _configure(self, claim: ClaimReference, move: Move, *, is_repeated: bool) -> tuple[str, ...]:
        """Make the interface what the claim asked for, and say which addresses it has then. One that has moved already
        (the call is repeated while its container runs) is left alone. Raises ClaimError."""
        if self._is_simulated:
            return move.addresses
        try:
            if not self._links.has(move.host_name):
                if is_repeated:
                    return move.addresses
                raise ClaimError(f"claim {claim}: interface {move.host_name} of {move.device} is not on the host now")
            if move.mtu is not None or move.addresses:
                there = self._links.addresses(move.host_name)
                self._remember(move.device, [address for address in move.addresses if address not in there])
                self._links.configure(move.host_name, move.mtu, move.addresses)
            elif move.name != move.host_name:
                self._remember(move.device, ())
            return move.addresses or self._links.addresses(move.host_name)
        except OSError as error:
            raise ClaimError(
                f"claim {claim}: interface {move.host_name} of {move.device} cannot be set up: {error.strerror}"
                f"{'; the driver needs CAP_NET_ADMIN' if isinstance(error, PermissionError) else ''}"
            ) from error

    def _remember(self, device: str, added: Sequence[str]) -> None:
        port = self._seen[device]
        if port.interface is not None:
            name, mtu = port.interface.name, port.interface.mtu
            self._changes.note(Before(port.pci.bus_id, port.port, name, mtu, tuple(added)))

    def _restore_returned(self) -> None:
        """Interfaces that no claim has any more and that are back on the host."""
        held = self._held_names()
        for device, before in self._changes.all().items():
            if device in held:
                continue
            name = current_name(self._host, before.bus_id, before.port, before.name)
            if name is not None:
                self._restore(name, before)
                self._changes.forget(device)

    def _restore(self, name: str, before: Before) -> None:
        try:
            if name != before.name:
                self._links.rename(name, before.name)
            if before.added:
                self._links.remove(before.name, before.added)
            self._links.configure(before.name, before.mtu, ())
        except OSError as error:
            # The port is free all the same: who gets it next names it for himself.
            _LOG.warning(
                "interface %s cannot be made %s again (MTU %d, without %s): %s",
                name,
                before.name,
                before.mtu,
                ", ".join(before.added) or "addresses",
                error,
            )

    def _report(self, reasons: Mapping[str, str]) -> None:
        """Say once what is left out and why, not with every look."""
        for name, reason in reasons.items():
            if self._reported.get(name) != reason:
                _LOG.info("network port %s is left out: %s", name, reason)
        self._reported = dict(reasons)


def create(host: Host, node: str, *, state_folder: str = STATE_FOLDER) -> Sequence[Vendor]:
    """The vendor of this machine, or of the tree below `host`. `state_folder` must outlive the process and need not
    outlive the machine's start: an interface is then as it always was."""
    return (NetworkVendor(host, state_folder=Path(state_folder) / node),)


def _claim_edits(move: Move | None, asked: NetworkParameters) -> ContainerEdits:
    moved = ContainerEdits() if move is None else move_interface(move.host_name, move.name)
    nodes = [device_node(path) for path in VHOST_NODES] if asked.vhost_net else ()
    return ContainerEdits(net_devices=moved.net_devices, device_nodes=nodes)


def _report(port: NetworkPort, move: Move | None, addresses: tuple[str, ...]) -> DeviceReport:
    interface, rdma = port.interface, port.rdma
    data: dict[str, Any] = {"pciBusID": port.pci.bus_id}
    if rdma is not None:
        data["rdma"] = {"device": rdma.device, "port": rdma.port, "linkLayer": rdma.link_layer}
    network = None
    if move is not None and interface is not None:
        network = NetworkData(interface_name=move.name, hardware_address=interface.mac, ips=addresses)
    return DeviceReport(network=network, data=data, conditions=CONDITIONS)
