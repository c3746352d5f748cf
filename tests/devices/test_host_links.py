"""What the machine's reader says of PCIe links, numbers and symbolic links."""

from pathlib import Path

import pytest

from devices.vendors.sysfs_machine import Machine
from fairlead.devices.errors import ProbeError
from fairlead.devices.host import PciLink

BUS_ID = "0000:12:00.0"
CHAIN = f"pci0000:10/0000:10:01.0/{BUS_ID}"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.pci(CHAIN, vendor="1ed2", device="0001")
    return machine


def test_a_link_at_its_best(machine: Machine) -> None:
    assert machine.host.pci_link(BUS_ID) == PciLink(16, 16, 32.0, 32.0)


def test_the_slot_limits_what_a_card_can_do(machine: Machine) -> None:
    above = f"/sys/devices/{CHAIN.rsplit('/', 1)[0]}"
    machine.write(f"{above}/max_link_width", "8\n")
    machine.write(f"{above}/max_link_speed", "16.0 GT/s PCIe\n")
    machine.write(f"/sys/devices/{CHAIN}/current_link_width", "8\n")
    machine.write(f"/sys/devices/{CHAIN}/current_link_speed", "16.0 GT/s PCIe\n")

    assert machine.host.pci_link(BUS_ID) == PciLink(8, 8, 16.0, 16.0)


@pytest.mark.parametrize(
    ("file", "text"),
    [("current_link_width", "0"), ("max_link_width", "255"), ("current_link_speed", "Unknown"), ("max_link_speed", "")],
)
def test_a_link_that_the_kernel_does_not_tell(machine: Machine, file: str, text: str) -> None:
    machine.write(f"/sys/devices/{CHAIN}/{file}", f"{text}\n")
    assert machine.host.pci_link(BUS_ID) is None


def test_a_function_below_nothing_counts_for_itself(machine: Machine) -> None:
    machine.pci("pci0000:20/0000:20:00.0", vendor="1ed2", device="0001", width=4)
    assert machine.host.pci_link("0000:20:00.0") == PciLink(4, 4, 32.0, 32.0)


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775808", "9" * 5000, "", "x"])
def test_numbers_that_no_api_takes(machine: Machine, text: str) -> None:
    machine.write("/sys/number", text)
    with pytest.raises(ProbeError, match="/sys/number: expected a number"):
        machine.host.number("/sys/number")


def test_where_a_link_points_need_not_be_there(machine: Machine) -> None:
    machine.link("/sys/link", "/sys/nowhere")
    assert machine.host.target("/sys/link") == "nowhere"
    with pytest.raises(ProbeError, match="/sys/gone: cannot be followed"):
        machine.host.target("/sys/gone")
