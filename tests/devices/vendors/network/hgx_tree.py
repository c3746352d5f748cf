"""A server of eight accelerators: each shares a PCIe switch with a network card; a dual-port card serves the node."""

from __future__ import annotations

from pathlib import Path

from devices.vendors.sysfs_machine import Machine

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
{name}\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
{name}\t0000000A\t00000000\t0001\t0\t0\t100\t0000FFFF\t0\t0\t0
"""
IPV6_ROUTES = (
    "{any} 00 {any} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     {name}\n"
    "{any} 00 {any} 00 {any} ffffffff 00000001 00000000 00200200       lo\n"
)
NODE_CARD = "0000:02:00"


def rail_chain(rail: int) -> str:
    """Root, root port, switch (upstream and downstream port), card."""
    bus = 0x10 + 0x10 * rail
    return (
        f"pci0000:{bus:02x}/0000:{bus:02x}:01.0/0000:{bus + 1:02x}:00.0/0000:{bus + 2:02x}:01.0/0000:{bus + 4:02x}:00.0"
    )


def gpu_chain(rail: int) -> str:
    bus = 0x10 + 0x10 * rail
    return (
        f"pci0000:{bus:02x}/0000:{bus:02x}:01.0/0000:{bus + 1:02x}:00.0/0000:{bus + 2:02x}:00.0/0000:{bus + 3:02x}:00.0"
    )


def rail_bus_id(rail: int) -> str:
    return rail_chain(rail).rsplit("/", 1)[1]


class HgxServer(Machine):
    def __init__(self, root: Path, *, rails: int = 8, infiniband: bool = True) -> None:
        super().__init__(root)
        self.sockets(2)
        self.device_node("/dev/infiniband/rdma_cm", 10, 60)
        self._verbs = 0
        self.infiniband = infiniband
        for rail in range(rails):
            numa = 0 if rail < 4 else 1
            self.pci(gpu_chain(rail), vendor="10de", device="2330", numa=numa, pci_class="0x030200", driver="nvidia")
            self.add_rail(rail, numa)
        self.add_node_card()
        self.virtual("lo", kind=772)
        self.virtual("docker0")
        self.virtual("veth12ab")
        self.route("ens1f0np0")

    def add_rail(self, rail: int, numa: int) -> None:
        pci_class = "0x020700" if self.infiniband else "0x020000"
        folder = self.pci(
            rail_chain(rail), vendor="15b3", device="1021", numa=numa, pci_class=pci_class, driver="mlx5_core"
        )
        name = f"ibp{rail}s0" if self.infiniband else f"ens{rail + 10}np0"
        self.interface(folder, name, infiniband=self.infiniband)
        self.rdma(folder, f"mlx5_{rail}", infiniband=self.infiniband)

    def add_node_card(self) -> None:
        """Two ports, two functions; the kernel counts the ports of the card in dev_port."""
        for port in range(2):
            folder = self.pci(
                f"pci0000:00/0000:00:01.0/{NODE_CARD}.{port}",
                vendor="15b3",
                device="101d",
                pci_class="0x020000",
                driver="mlx5_core",
                width=8,
            )
            self.interface(folder, f"ens1f{port}np{port}", dev_port=port, speed=100_000)
            self.rdma(folder, f"mlx5_bond_{port}", infiniband=False, rate="100 Gb/sec (4X EDR)")

    def interface(
        self,
        folder: str,
        name: str,
        *,
        infiniband: bool = False,
        dev_port: int = 0,
        speed: int = 400_000,
        phys_port_name: str = "",
    ) -> str:
        path = f"{folder}/net/{name}"
        guid = "00:00:10:29:fe:80:00:00:00:00:00:00:94:6d:ae:03:00:00:00:01"
        for file, text in {
            "address": guid if infiniband else f"94:6d:ae:00:{len(name):02x}:{dev_port:02x}",
            "mtu": "4092" if infiniband else "1500",
            "type": "32" if infiniband else "1",
            "flags": "0x1003",
            "operstate": "up",
            "carrier": "1",
            "speed": str(speed),
            "dev_port": str(dev_port),
            "ifalias": "",
        }.items():
            self.write(f"{path}/{file}", f"{text}\n")
        if phys_port_name:
            self.write(f"{path}/phys_port_name", f"{phys_port_name}\n")
        self.link(f"{path}/device", folder)
        self.link(f"/sys/class/net/{name}", path)
        return path

    def rdma(
        self, folder: str, device: str, *, infiniband: bool, ports: int = 1, rate: str = "400 Gb/sec (4X NDR)"
    ) -> None:
        path = f"{folder}/infiniband/{device}"
        self.write(f"{path}/node_guid", "946d:ae03:0000:0001\n")
        self.write(f"{path}/fw_ver", "28.39.1002\n")
        self.link(f"{path}/device", folder)
        self.link(f"/sys/class/infiniband/{device}", path)
        number = self._verbs
        self._verbs += 1
        self.write(f"/sys/class/infiniband_verbs/uverbs{number}/ibdev", f"{device}\n")
        self.device_node(f"/dev/infiniband/uverbs{number}", 231, 192 + number)
        for port in range(1, ports + 1):
            place = f"{path}/ports/{port}"
            self.write(f"{place}/state", "4: ACTIVE\n")
            self.write(f"{place}/phys_state", "5: LinkUp\n")
            self.write(f"{place}/rate", f"{rate}\n")
            self.write(f"{place}/link_layer", "InfiniBand\n" if infiniband else "Ethernet\n")
            name = f"umad{number * 2 + port - 1}"
            self.write(f"/sys/class/infiniband_mad/{name}/ibdev", f"{device}\n")
            self.write(f"/sys/class/infiniband_mad/{name}/port", f"{port}\n")
            self.device_node(f"/dev/infiniband/{name}", 231, number * 2 + port - 1)

    def virtual_functions(self, chain: str, count: int, *, vfio: frozenset[int] = frozenset()) -> list[str]:
        """Virtual functions of the card at the end of a chain; returns their bus ids."""
        physical = f"/sys/devices/{chain}"
        self.write(f"{physical}/sriov_totalvfs", "16\n")
        self.write(f"{physical}/sriov_numvfs", f"{count}\n")
        above, bus_id = chain.rsplit("/", 1)
        found: list[str] = []
        for number in range(count):
            vf = f"{bus_id[:-4]}{number // 8 + 1:02x}.{number % 8}"
            bound = number in vfio
            folder = self.pci(
                f"{above}/{vf}",
                vendor="15b3",
                device="101e",
                pci_class="0x020000",
                driver="vfio-pci" if bound else "mlx5_core",
                width=0,
            )
            self.link(f"{folder}/physfn", physical)
            self.link(f"{physical}/virtfn{number}", folder)
            if bound:
                self.path(f"/sys/kernel/iommu_groups/{90 + number}").mkdir(parents=True)
                self.link(f"{folder}/iommu_group", f"/sys/kernel/iommu_groups/{90 + number}")
            else:
                self.interface(folder, f"ens9v{number}")
            found.append(vf)
        return found

    def virtual(self, name: str, kind: int = 1) -> None:
        path = f"/sys/devices/virtual/net/{name}"
        for file, text in {"address": "00:00:00:00:00:00", "mtu": "1500", "type": str(kind), "flags": "0x1003"}.items():
            self.write(f"{path}/{file}", f"{text}\n")
        self.link(f"/sys/class/net/{name}", path)

    def route(self, name: str) -> None:
        self.write("/proc/net/route", ROUTES.format(name=name))
        self.write("/proc/net/ipv6_route", IPV6_ROUTES.format(name=name, any="0" * 32))

    def take_interface(self, folder: str, name: str) -> None:
        """The interface goes into a pod's network namespace: the host no longer sees it."""
        self.remove(f"/sys/class/net/{name}")
        self.remove(f"{folder}/net/{name}")
