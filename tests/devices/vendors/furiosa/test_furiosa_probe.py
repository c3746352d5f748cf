from pathlib import Path

import pytest

from devices.vendors.furiosa.rngd_tree import RngdServer, bus_id
from devices.vendors.sysfs_machine import Machine
from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host
from fairlead.devices.vendors.furiosa.facts import standard_nodes
from fairlead.devices.vendors.furiosa.probe import read_cards, read_state


def reasons(server: Machine) -> dict[str, str]:
    return {skipped.name: skipped.reason for skipped in read_cards(server.host).skipped}


def test_a_server_of_eight_cards(tmp_path: Path) -> None:
    found = read_cards(RngdServer(tmp_path).host)

    assert not found.skipped
    assert [card.name for card in found.cards] == [f"npu{index}" for index in range(8)]
    assert [card.pci.bus_id for card in found.cards] == [bus_id(index) for index in range(8)]
    assert [card.pci.numa_node for card in found.cards] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [card.pci.socket for card in found.cards] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [card.pci.switch for card in found.cards[::2]] == [
        "0000:21:00.0",
        "0000:4b:00.0",
        "0000:91:00.0",
        "0000:c1:00.0",
    ]
    assert [card.pci.switch for card in found.cards[1::2]] == [card.pci.switch for card in found.cards[::2]]
    first = found.cards[0]
    assert (first.uuid, first.serial) == ("A76AAD68-6855-40B1-9E86-D080852D1C80", "TEST0236FH505KRE0")
    assert (first.firmware, first.driver, first.product) == ("1.6.0, c1bebfd", "1.9.2, 3def9c2", "rngd")
    assert sorted(first.nodes) == sorted(standard_nodes(0))


def test_a_machine_without_cards_has_none(tmp_path: Path) -> None:
    assert read_cards(Host(tmp_path)).cards == ()


@pytest.mark.parametrize(
    ("device_type", "product"),
    [("rngd", "rngd"), ("RNGD-MAX", "rngd-max"), ("rngd_s", "rngd-s"), ("", "rngd"), ("EVT1", "rngd")],
)
def test_products(tmp_path: Path, device_type: str, product: str) -> None:
    server = RngdServer(tmp_path, cards=1)
    server.write(f"{server.management(0)}/device_type", f"{device_type}\n")

    assert read_cards(server.host).cards[0].product == product


@pytest.mark.parametrize("name", ["busname", "device_uuid"])
def test_a_truncated_file_leaves_its_card_out_and_no_other(tmp_path: Path, name: str) -> None:
    server = RngdServer(tmp_path, cards=3)
    server.write(f"{server.management(1)}/{name}", "")

    assert [card.index for card in read_cards(server.host).cards] == [0, 2]
    assert list(reasons(server)) == ["npu1"]


def test_files_that_may_be_empty(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=1)
    for name in ("device_sn", "fw_version", "version"):
        server.write(f"{server.management(0)}/{name}", "")

    card = read_cards(server.host).cards[0]
    assert (card.serial, card.firmware, card.driver) == ("", "", "")


def test_a_file_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=2)
    server.path(f"{server.management(0)}/device_uuid").write_bytes(b"\xff\xfe\x00")

    assert "expected text" in reasons(server)["npu0"]


def test_a_link_of_the_class_that_leads_nowhere(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=2)
    server.remove("/sys/devices/virtual/rngd_mgmt/rngd!npu1mgmt")

    assert reasons(server) == {"npu1": "disappeared while it was being read"}


def test_a_pci_link_that_leads_nowhere(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=2)
    server.remove(f"/sys/devices/{'/'.join(server.host.link(f'/sys/bus/pci/devices/{bus_id(0)}').split('/')[3:])}")

    assert "cannot be followed" in reasons(server)["npu0"]
    assert [card.index for card in read_cards(server.host).cards] == [1]


def test_numbers_need_not_be_dense(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=4)
    server.drop_card(2)

    assert [card.index for card in read_cards(server.host).cards] == [0, 1, 3]
    assert not reasons(server)


def test_device_files_without_a_card_are_reported(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=2)
    server.remove(server.management(1))

    assert [card.index for card in read_cards(server.host).cards] == [0]
    assert "dropped" in reasons(server)["npu1"]


def test_a_card_without_device_files_is_left_out(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=1)
    for name in server.node_names(0):
        server.remove(f"/dev/rngd/{name}")

    assert "no device file" in reasons(server)["npu0"]


def test_only_device_nodes_count_as_device_files(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=1)
    server.write("/dev/rngd/npu0pe3", "a file that somebody left here")
    server.write("/dev/rngd/npu0pe0.bak", "c 1:3")

    nodes = read_cards(server.host).cards[0].nodes
    assert "npu0pe3" not in nodes
    assert "npu0pe0.bak" not in nodes


def test_two_entries_for_one_card(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=2)
    server.write(f"{server.management(1)}/busname", bus_id(0))

    assert [card.index for card in read_cards(server.host).cards] == [0]
    assert reasons(server)["npu1"] == f"says it is PCI function {bus_id(0)}, which npu0 is"


def test_hardware_of_another_vendor(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=2)
    server.write(f"/sys/bus/pci/devices/{bus_id(0)}/vendor", "0x10de\n")
    server.write(f"{server.management(1)}/platform_type", "Other\n")

    assert "vendor 10de" in reasons(server)["npu0"]
    assert 'found "Other"' in reasons(server)["npu1"]


def test_a_class_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=1)
    server.remove("/dev/rngd")
    server.link("/dev/rngd", "/dev/rngd")

    with pytest.raises(ProbeError, match="/dev/rngd: cannot be listed"):
        read_cards(server.host)


def test_the_state_of_a_card_that_is_well(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=1)
    state = read_state(server.host, read_cards(server.host).cards[0])

    assert (state.present, state.alive, state.occupied, state.unreadable) == (True, True, frozenset(), "")
    assert (state.hot, state.power_limited) == ("", "")
    assert state.link is not None
    assert (state.link.width, state.link.max_width) == (16, 16)


def test_what_a_state_may_say(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=1)
    card = read_cards(server.host).cards[0]
    server.write(f"{server.management(0)}/device_state", "0\n")
    server.occupy(0, 2, 3)
    server.write(f"{server.hwmon(0)}/temp1_crit_alarm", "1\n")
    server.write(f"{server.hwmon(0)}/power1_cap_alarm", "1\n")
    state = read_state(server.host, card)

    assert (state.alive, state.occupied) == (False, {2, 3})
    assert (state.hot, state.power_limited) == ("temp1_crit_alarm", "power1_cap_alarm")


def test_a_temperature_above_its_limit_without_an_alarm_file(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=1)
    server.remove(f"{server.hwmon(0)}/temp1_crit_alarm")
    server.write(f"{server.hwmon(0)}/temp1_input", "96500\n")

    assert read_state(server.host, read_cards(server.host).cards[0]).hot == "temp1 at 96.5 °C, critical from 95 °C"


def test_occupation_by_allocation_tables_where_there_is_no_summary(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=1)
    card = read_cards(server.host).cards[0]
    server.remove(f"{server.management(0)}/pe_occupancy")
    server.write("/sys/class/rngd_mgmt/rngd!npu0pe5/alloc_status", "dram_capacity: 6442450944\ndram_usage: 0\n")
    assert read_state(server.host, card).occupied == {5}

    for element in range(8):
        server.remove(f"/sys/class/rngd_mgmt/rngd!npu0pe{element}/alloc_status")
    assert read_state(server.host, card).occupied is None


@pytest.mark.parametrize("text", ["0\n1\n", "0\n" * 7 + "x\n", "0\n" * 9])
def test_a_summary_of_occupation_that_is_cut_off_is_not_read_as_free(tmp_path: Path, text: str) -> None:
    server = RngdServer(tmp_path, cards=1)
    card = read_cards(server.host).cards[0]
    server.write(f"{server.management(0)}/pe_occupancy", text)

    assert "expected 8 lines" in read_state(server.host, card).unreadable


def test_the_state_of_a_card_that_dropped(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=1)
    card = read_cards(server.host).cards[0]
    server.drop_card(0)

    assert not read_state(server.host, card).present
