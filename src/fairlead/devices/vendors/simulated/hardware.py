"""From a fleet's node to its hardware: the vendors' own facts, made up, and the vendors' own code on top of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from fairlead.devices.host import PciFunction
from fairlead.devices.vendor import Vendor
from fairlead.devices.vendors.furiosa import facts as furiosa
from fairlead.devices.vendors.furiosa.vendor import FuriosaVendor
from fairlead.devices.vendors.network import facts as network
from fairlead.devices.vendors.network.vendor import NetworkVendor
from fairlead.devices.vendors.nvidia.inventory import Offer, Sharing
from fairlead.devices.vendors.simulated.amd import AmdGpu, AmdVendor
from fairlead.devices.vendors.simulated.fleet import FleetNode, Placed
from fairlead.devices.vendors.simulated.identity import Identity
from fairlead.devices.vendors.simulated.layout import Seat
from fairlead.devices.vendors.simulated.models import AmdModel, Model, NicModel, NvidiaModel, RngdModel, TpuModel
from fairlead.devices.vendors.simulated.nvidia import gpus
from fairlead.devices.vendors.simulated.nvidia_vendor import SimulatedGpus
from fairlead.devices.vendors.tpu import facts as tpu
from fairlead.devices.vendors.tpu.vendor import TpuVendor

FURIOSA_DRIVER_VERSION = "2026.1.0"
FURIOSA_FIRMWARE = "1.6.0, c1bebfd"
AMD_DRIVER_VERSION = "6.12.12"
NIC_FIRMWARE = "28.43.2026"
_FIRST_VFIO_GROUP = 10


def hardware(node: FleetNode, seed: str) -> Iterator[Vendor]:
    """A vendor for each driver that the node's devices need, over made-up facts."""
    identity = Identity(seed, node.name)
    for kind, make in _MAKERS.items():
        placed = [entry for entry in node.devices if isinstance(entry.model, kind)]
        if placed:
            yield make(placed, identity)


def _seats(placed: Sequence[Placed]) -> Iterator[tuple[int, Placed, Seat]]:
    """Every device of some entries: its number among them, its entry, its seat."""
    numbered = ((entry, seat) for entry in placed for seat in entry.seats)
    for number, (entry, seat) in enumerate(numbered):
        yield number, entry, seat


def _pci(model: Model, seat: Seat) -> PciFunction:
    return PciFunction(
        bus_id=seat.bus_id,
        root=seat.root,
        switch=seat.switch,
        vendor=model.pci_vendor,
        device=model.pci_device,
        numa_node=seat.numa_node,
        socket=seat.socket,
    )


def furiosa_cards(placed: Sequence[Placed], identity: Identity) -> furiosa.Cards:
    return furiosa.Cards(
        tuple(
            furiosa.Card(
                index=number,
                uuid=identity.uuid("rngd", number).upper(),
                serial=f"RNGDSIM{identity.serial('rngd', number, 9)}",
                pci=_pci(entry.model, seat),
                nodes=furiosa.standard_nodes(number),
                product=entry.model.title,
                firmware=entry.given.firmware or FURIOSA_FIRMWARE,
                driver=entry.given.driver_version or FURIOSA_DRIVER_VERSION,
            )
            for number, entry, seat in _seats(placed)
        )
    )


def tpu_host(placed: Sequence[Placed], identity: Identity) -> tpu.TpuHost:
    entry = placed[0]
    model, torus = entry.model, entry.torus
    assert isinstance(model, TpuModel) and torus is not None
    chips = len(entry.seats)
    cores = model.generation.cores * chips * len(torus.hosts)
    return tpu.TpuHost(
        generation=model.generation,
        chips=tuple(
            tpu.Chip(
                index=number,
                node=f"/dev/vfio/{_FIRST_VFIO_GROUP + number}" if model.is_vfio else f"/dev/accel{number}",
                pci=_pci(model, seat),
            )
            for number, seat in enumerate(entry.seats)
        ),
        slice=tpu.Slice(
            accelerator_type=f"{model.generation.name}-{cores}",
            accelerator=model.accelerator,
            topology=torus.topology,
            chips_per_host=tpu.HOST_BOUNDS[chips],
            worker=torus.worker,
            worker_hostnames=torus.hosts,
        ),
    )


def network_ports(placed: Sequence[Placed], identity: Identity) -> network.NetworkPorts:
    return network.NetworkPorts(
        ports=tuple(_port(number, entry, seat, identity) for number, entry, seat in _seats(placed)),
        common_nodes=("/dev/infiniband/rdma_cm",),
    )


def _port(number: int, entry: Placed, seat: Seat, identity: Identity) -> network.NetworkPort:
    model = entry.model
    assert isinstance(model, NicModel)
    infiniband = model.link_layer == "infiniband"
    return network.NetworkPort(
        pci=_pci(model, seat),
        interface=network.Interface(
            name=f"ib{number}" if infiniband else f"eth{number + 1}",
            mac=identity.mac("nic", number),
            mtu=2044 if infiniband else 9000,
            link_layer=model.link_layer,
            speed_mbps=model.rate_gbps * 1000,
        ),
        rdma=network.RdmaPort(
            device=f"mlx5_{number}",
            link_layer=model.link_layer,
            rate_gbps=model.rate_gbps,
            node_guid=":".join(identity.hexadecimal("guid", number, 16)[n : n + 4] for n in range(0, 16, 4)),
            firmware=entry.given.firmware or NIC_FIRMWARE,
            nodes=(f"uverbs{number}", f"umad{number}"),
        ),
        driver=model.kernel_driver,
    )


def amd_gpus(placed: Sequence[Placed], identity: Identity) -> Sequence[AmdGpu]:
    gpus = []
    for number, entry, seat in _seats(placed):
        model = entry.model
        assert isinstance(model, AmdModel)
        gpus.append(
            AmdGpu(
                # The board's own graphics is card 0.
                card=number + 1,
                title=model.title,
                device_id=model.pci_device,
                driver_version=entry.given.driver_version or AMD_DRIVER_VERSION,
                memory_bytes=model.memory_bytes,
                compute_units=model.compute_units,
                seat=seat,
                hive=identity.hexadecimal("xgmi hive", 0, 16) if model.xgmi else "",
            )
        )
    return gpus


def _amd(placed: Sequence[Placed], identity: Identity) -> Vendor:
    return AmdVendor(amd_gpus(placed, identity))


def _furiosa(placed: Sequence[Placed], identity: Identity) -> Vendor:
    cards = furiosa_cards(placed, identity)
    return FuriosaVendor(partitions=all(e.given.partitions is not False for e in placed), facts=lambda: cards)


def _tpu(placed: Sequence[Placed], identity: Identity) -> Vendor:
    host = tpu_host(placed, identity)
    groups = any(entry.given.partitions for entry in placed)
    return TpuVendor(node=identity.node, groups=groups, environment={}, facts=lambda: host)


def _nvidia(placed: Sequence[Placed], identity: Identity) -> Vendor:
    shares: Sharing | int = next((entry.given.shares for entry in placed if entry.given.shares is not None), "")
    offer = Offer(dynamic_mig=any(entry.given.mig for entry in placed), shares=shares)
    return SimulatedGpus(lambda: gpus(placed, identity), identity, offer)


def _network(placed: Sequence[Placed], identity: Identity) -> Vendor:
    ports = network_ports(placed, identity)
    return NetworkVendor(facts=lambda: ports)


_MAKERS: Mapping[type[Model], Callable[[Sequence[Placed], Identity], Vendor]] = {
    NvidiaModel: _nvidia,
    RngdModel: _furiosa,
    TpuModel: _tpu,
    AmdModel: _amd,
    NicModel: _network,
}
