"""Eight RNGD cards in two sockets, two on each PCIe switch, as the vendor's own mock of such a server has them."""

from __future__ import annotations

from pathlib import Path

from devices.vendors.sysfs_machine import Machine

BUSES = ("27", "2a", "51", "57", "9e", "a4", "c7", "ca")
ROOTS = ("pci0000:20", "pci0000:4a", "pci0000:90", "pci0000:c0")
SERIAL = "TEST0236FH505KRE"
UUID = "A76AAD68-6855-40B1-9E86-D080852D1C8"


def bus_id(index: int) -> str:
    return f"0000:{BUSES[index]}:00.0"


def chain(index: int) -> str:
    root = ROOTS[index // 2]
    bus = int(root[-2:], 16)
    port, upstream = f"0000:{bus:02x}:01.0", f"0000:{bus + 1:02x}:00.0"
    downstream = f"0000:{bus + 2:02x}:{index % 2:02x}.0"
    return "/".join((root, port, upstream, downstream, bus_id(index)))


class RngdServer(Machine):
    def __init__(self, root: Path, cards: int = 8) -> None:
        super().__init__(root)
        self.sockets(2)
        for index in range(cards):
            self.add_card(index)

    def management(self, index: int) -> str:
        return f"/sys/class/rngd_mgmt/rngd!npu{index}mgmt"

    def hwmon(self, index: int) -> str:
        return f"/sys/devices/{chain(index)}/hwmon/hwmon{index}"

    def add_card(self, index: int) -> None:
        self.pci(chain(index), vendor="1ed2", device="0001", numa=index // 4, driver="furiosa_rngd")
        virtual = f"/sys/devices/virtual/rngd_mgmt/rngd!npu{index}mgmt"
        for name, text in {
            "busname": bus_id(index),
            "device_uuid": f"{UUID}{index}",
            "device_sn": f"{SERIAL}{index}",
            "dev": f"{234 + index}:0",
            "device_type": "rngd",
            "device_state": "1",
            "platform_type": "FuriosaAI",
            "fw_version": "1.6.0, c1bebfd",
            "version": "1.9.2, 3def9c2",
            "pe_occupancy": "\n".join("0" * 8),
        }.items():
            self.write(f"{virtual}/{name}", f"{text}\n")
        self.link(self.management(index), virtual)
        for element in range(8):
            self.write(f"/sys/class/rngd_mgmt/rngd!npu{index}pe{element}/alloc_status", "")
        for name, text in {
            "name": "rngd",
            "temp1_input": "36000",
            "temp1_crit": "95000",
            "temp1_crit_alarm": "0",
            "power1_average": "52000000",
            "power1_cap_alarm": "0",
        }.items():
            self.write(f"{self.hwmon(index)}/{name}", f"{text}\n")
        for minor, name in enumerate(self.node_names(index)):
            self.device_node(f"/dev/rngd/{name}", 234 + index, minor)

    def node_names(self, index: int) -> list[str]:
        card = f"npu{index}"
        elements = ("0", "1", "2", "3", "4", "5", "6", "7", "0-1", "2-3", "4-5", "6-7", "0-3", "4-7")
        return [
            card,
            f"{card}mgmt",
            *(f"{card}pe{name}" for name in elements),
            *(f"{card}ch{channel}" for channel in range(8)),
            *(f"{card}ch{channel}r" for channel in range(8)),
            f"{card}dmar",
            *(f"{card}bar{bar}" for bar in (0, 2, 4)),
        ]

    def drop_card(self, index: int) -> None:
        """The card leaves the bus: its class entries, device files and PCI function go."""
        self.remove(self.management(index))
        self.remove(f"/sys/devices/virtual/rngd_mgmt/rngd!npu{index}mgmt")
        for element in range(8):
            self.remove(f"/sys/class/rngd_mgmt/rngd!npu{index}pe{element}")
        for name in self.node_names(index):
            self.remove(f"/dev/rngd/{name}")
        self.remove(f"/sys/bus/pci/devices/{bus_id(index)}")
        self.remove(f"/sys/devices/{chain(index)}")

    def occupy(self, index: int, *elements: int) -> None:
        lines = ("1" if element in elements else "0" for element in range(8))
        self.write(f"{self.management(index)}/pe_occupancy", "\n".join(lines) + "\n")
