"""RDMA devices from /sys/class/infiniband, and the files below /dev/infiniband by which programs use them."""

from __future__ import annotations

import re
from dataclasses import replace

from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host
from fairlead.devices.vendors.network.facts import RdmaPort

DEVICES = "/sys/class/infiniband"
_VERBS = "/sys/class/infiniband_verbs"
_MAD = "/sys/class/infiniband_mad"
_RATE = re.compile(r"(\d{1,6})(?:\.\d+)? Gb/sec(?: \((\d{1,2})X.*\))?", re.ASCII)
_PORT = re.compile(r"[1-9]\d{0,2}", re.ASCII)
_STATE = re.compile(r"\d+: ([A-Z_]+)")


def read_rdma_ports(host: Host, device: str) -> list[RdmaPort]:
    """Every port of a device. A state that is cut off is a ProbeError: an unknown state is not taken for a good one."""
    path = f"{DEVICES}/{device}"
    ports = [int(name) for name in host.names(f"{path}/ports") if _PORT.fullmatch(name)]
    return [
        RdmaPort(
            device=device,
            port=port,
            link_layer="infiniband" if _link_layer(host, path, port) == "InfiniBand" else "ethernet",
            state=_state(host, f"{path}/ports/{port}/state"),
            rate_gbps=rate_gbps,
            lanes=lanes,
            node_guid=host.text(f"{path}/node_guid", ""),
            firmware=host.text(f"{path}/fw_ver", ""),
            nodes=_nodes(host, device, port),
        )
        for port in sorted(ports)
        for rate_gbps, lanes in [_rate(host, path, port)]
    ]


def read_rdma_again(host: Host, known: RdmaPort) -> RdmaPort | None:
    """State and speed of a port now; None where the host no longer has the device."""
    path = f"{DEVICES}/{known.device}"
    if not host.exists(path):
        return None
    rate_gbps, lanes = _rate(host, path, known.port)
    state = _state(host, f"{path}/ports/{known.port}/state")
    return replace(known, state=state, rate_gbps=rate_gbps, lanes=lanes)


def _link_layer(host: Host, path: str, port: int) -> str:
    return host.text(f"{path}/ports/{port}/link_layer", "Ethernet")


def _state(host: Host, path: str) -> str:
    text = host.text(path)
    match = _STATE.fullmatch(text)
    if match is None:
        raise ProbeError(f'{path}: expected a state such as "4: ACTIVE", found "{text[:40]}"')
    return match[1]


def _rate(host: Host, path: str, port: int) -> tuple[int | None, int | None]:
    """Gbit/s and lanes of "400 Gb/sec (4X NDR)"."""
    match = _RATE.fullmatch(host.text(f"{path}/ports/{port}/rate", ""))
    if match is None:
        return None, None
    return int(match[1]), int(match[2]) if match[2] else None


def _nodes(host: Host, device: str, port: int) -> tuple[str, ...]:
    """Names below /dev/infiniband: the device's verbs, and the management files of this port."""
    verbs = [name for name in host.names(_VERBS) if host.text(f"{_VERBS}/{name}/ibdev", "") == device]
    management = [
        name
        for name in host.names(_MAD)
        if host.text(f"{_MAD}/{name}/ibdev", "") == device and host.number(f"{_MAD}/{name}/port", 1) == port
    ]
    present = (name for name in (*verbs, *management) if host.device_node(f"/dev/infiniband/{name}") is not None)
    return tuple(present)
