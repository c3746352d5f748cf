"""From a network port as it was and as it is to its state. Pure."""

from __future__ import annotations

from fairlead.devices.errors import ProbeError
from fairlead.devices.health import HEALTHY, Health, unhealthy, unknown
from fairlead.devices.host import PciLink
from fairlead.devices.vendors.network.facts import NetworkPort


def compute_health(
    port: NetworkPort, now: NetworkPort | ProbeError | None, link: PciLink | None, *, held: bool
) -> Health:
    """`now` is None for a port that is gone. `held`: a claim has it, so its interface may be in a pod's namespace.

    Only a port that is gone ends its pods. A link that is down or slow may come back, and who has it sees that for
    himself: it only gets no new ones.
    """
    if now is None:
        return unhealthy("Vanished", f"{port.name}: PCI function {port.pci.bus_id} is gone")
    if isinstance(now, ProbeError):
        return unknown("Unreadable", f"{port.name}: {now}")
    return (
        _missing(port, now, held=held)
        or _no_link(port, now)
        or _slow_port(port, now)
        or _slow_card(port, link)
        or HEALTHY
    )


def _missing(port: NetworkPort, now: NetworkPort, *, held: bool) -> Health | None:
    """A part that is not on the host. While a claim has the port, it may be in the pod's namespace."""
    if held:
        return None
    if port.rdma is not None and now.rdma is None:
        return unhealthy("NoRdmaDevice", f"{port.name}: RDMA device {port.rdma.device} is gone", "NoSchedule")
    if now.interface is None and now.rdma is None and now.vfio_group is None:
        return unhealthy(
            "NoInterface",
            f"{port.name}: the host has no interface of it and no claim does; something else has taken it",
            "NoSchedule",
        )
    return None


def _no_link(port: NetworkPort, now: NetworkPort) -> Health | None:
    interface, rdma = now.interface, now.rdma
    if interface is not None and interface.is_up and interface.carrier is False:
        return unhealthy("NoCarrier", f"{port.name}: interface {interface.name} has no carrier", "NoSchedule")
    # An Ethernet port is down with its interface, which an administrator may have left down until it is used.
    judged = rdma is not None and (rdma.link_layer == "infiniband" or (interface is not None and interface.is_up))
    if rdma is not None and judged and rdma.state != "ACTIVE":
        return unhealthy(
            "PortNotActive",
            f"{port.name}: port {rdma.port} of {rdma.device} is {rdma.state}, expected ACTIVE",
            "NoSchedule",
        )
    return None


def _slow_port(port: NetworkPort, now: NetworkPort) -> Health | None:
    rdma = now.rdma
    if rdma is not None and rdma.lanes == 1 and rdma.link_layer == "infiniband":
        return unhealthy(
            "PortDegraded",
            f"{port.name}: port {rdma.port} of {rdma.device} runs on one lane; check its cable",
            "NoSchedule",
        )
    return None


def _slow_card(port: NetworkPort, link: PciLink | None) -> Health | None:
    if link is not None and (link.width < link.max_width or link.speed_gts < link.max_speed_gts):
        return unhealthy("PcieLinkDegraded", f"{port.name}: PCIe link has {link}", "NoSchedule")
    return None
