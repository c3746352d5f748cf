"""What a container gets for a network port: RDMA files, VFIO files, and the name of the port in a variable.

That the interface moves into the container is a claim's edit, not the device's: its name there is the claim's choice.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.devices.cdi.spec import ContainerEdits, DeviceNode, NetDevice
from fairlead.devices.vendors.network.facts import NetworkPort

INFINIBAND = "/dev/infiniband"
VFIO = "/dev/vfio"
VHOST_NODES = ("/dev/vhost-net", "/dev/net/tun")
"""What a virtio-user port of DPDK or a virtual machine needs beside the card."""


def device_edits(port: NetworkPort) -> ContainerEdits:
    paths = [f"{INFINIBAND}/{name}" for name in (port.rdma.nodes if port.rdma is not None else ())]
    if port.vfio_group is not None:
        paths += [f"{VFIO}/vfio", f"{VFIO}/{port.vfio_group}"]
    variable = f"FAIRLEAD_NETWORK_{port.name.upper().replace('-', '_')}"
    return ContainerEdits(env=[f"{variable}={port.pci.bus_id}"], device_nodes=[device_node(path) for path in paths])


def move_interface(host_name: str, name: str) -> ContainerEdits:
    return ContainerEdits(net_devices=[NetDevice(host_interface_name=host_name, name=name)])


def rdma_environment(ports: Iterable[NetworkPort]) -> ContainerEdits:
    """Variables by which NCCL and UCX keep to these ports; a container sees all RDMA devices of the host otherwise."""
    named = [f"{port.rdma.device}:{port.rdma.port}" for port in ports if port.rdma is not None]
    if not named:
        return ContainerEdits()
    # "=" asks NCCL for whole names; without it mlx5_1 also means mlx5_10.
    return ContainerEdits(env=[f"NCCL_IB_HCA=={','.join(named)}", f"UCX_NET_DEVICES={','.join(named)}"])


def device_node(path: str) -> DeviceNode:
    return DeviceNode(path=path, host_path=path, permissions="rw")
