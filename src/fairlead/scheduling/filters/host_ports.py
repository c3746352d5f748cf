"""Ports of the host that others on the node have taken."""

from __future__ import annotations

from typing import Final

from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.snapshot import Shape

_ANY: Final = "0.0.0.0"


def refuse_ports(shape: Shape, fleet: Fleet, row: int) -> str | None:
    """A port taken on all addresses conflicts with the same port on any, and the other way round."""
    taken = fleet.host_ports[row]
    if not shape.host_ports or not taken:
        return None
    for address, protocol, port in shape.host_ports:
        for (other, other_protocol, other_port), count in taken.items():
            if count > 0 and port == other_port and protocol == other_protocol and _ANY in (address, other):
                return REASON
        if taken[address, protocol, port] > 0:
            return REASON
    return None


REASON = "node(s) didn't have free ports for the requested pod ports"
