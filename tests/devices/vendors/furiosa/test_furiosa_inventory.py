from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.vendors.furiosa.rngd_tree import RngdServer
from fairlead.devices.host import PciFunction
from fairlead.devices.inventory import Device, Inventory, Version
from fairlead.devices.slices.rules import check_inventory
from fairlead.devices.vendors.furiosa.facts import FUSIONS, WHOLE_CARD, Card, Cards, PeRange, standard_nodes
from fairlead.devices.vendors.furiosa.inventory import available_parts, build, device_name, link_between, version
from fairlead.devices.vendors.furiosa.probe import read_cards
from fairlead.kube.quantity import Quantity, parse_quantity

CARD = Card(
    index=0,
    uuid="A76AAD68-6855-40B1-9E86-D080852D1C80",
    serial="TEST0236FH505KRE0",
    pci=PciFunction("0000:27:00.0", "pci0000:20", "0000:21:00.0", "1ed2", "0001", 0, 0),
    nodes=standard_nodes(0),
)


@pytest.fixture
def server(tmp_path: Path) -> Inventory:
    return build(read_cards(RngdServer(tmp_path).host))


def is_admitted(devices: tuple[Device, ...], counters: dict[str, dict[str, str]]) -> bool:
    """Whether an allocator may hand out all of these at once: no counter is used up beyond what there is."""
    used: dict[tuple[str, str], Quantity] = {}
    for device in devices:
        for name, amounts in device.consumes.items():
            for counter, amount in amounts.items():
                used[name, counter] = used.get((name, counter), parse_quantity("0")) + parse_quantity(amount)
    return all(
        amount.value <= parse_quantity(counters[name][counter]).value for (name, counter), amount in used.items()
    )


def test_a_card_and_its_fourteen_groups() -> None:
    inventory = build(Cards((CARD,)))

    assert [device.name for device in inventory.devices] == [
        "npu0",
        *(f"npu0pe{element}" for element in range(8)),
        "npu0pe0-1",
        "npu0pe2-3",
        "npu0pe4-5",
        "npu0pe6-7",
        "npu0pe0-3",
        "npu0pe4-7",
    ]
    assert inventory.counters == {"npu0": {f"pe{element}": "1" for element in range(8)} | {"memory": "48Gi"}}
    sizes = {device.name: device.capacity["memory"].value for device in inventory.devices}
    assert (sizes["npu0"], sizes["npu0pe3"], sizes["npu0pe2-3"], sizes["npu0pe4-7"]) == ("48Gi", "6Gi", "12Gi", "24Gi")
    assert {device.parent for device in inventory.devices[1:]} == {"npu0"}
    assert inventory.devices[0].parent == ""


def test_every_subset_that_the_counters_admit_is_free_of_overlap_and_every_other_has_one() -> None:
    """All 32,768 sets of devices of one card: the counters admit exactly those in which no PE is given twice."""
    inventory = build(Cards((CARD,)))
    counters = {name: dict(values) for name, values in inventory.counters.items()}
    ranges = {device_name(CARD, part): part for part in (WHOLE_CARD, *FUSIONS)}
    # The same arithmetic as `is_admitted`, in whole numbers, so that 32,768 sets take no time.
    units = {
        device.name: {name: parse_quantity(amount).value for name, amount in device.consumes["npu0"].items()}
        for device in inventory.devices
    }
    limits = {name: parse_quantity(amount).value for name, amount in counters["npu0"].items()}
    names = [device.name for device in inventory.devices]
    admitted_sets = 0
    for mask in range(1 << len(names)):
        chosen = [name for bit, name in enumerate(names) if mask >> bit & 1]
        admitted = all(sum(units[name].get(counter, 0) for name in chosen) <= most for counter, most in limits.items())
        overlap = any(ranges[a].overlaps(ranges[b]) for a, b in combinations(chosen, 2))
        assert admitted is not overlap, chosen
        admitted_sets += admitted
    # Ways to fill a binary tree of three levels below the card: f(1) = 2, f(2n) = f(n)^2 + 1.
    assert admitted_sets == ((2**2 + 1) ** 2 + 1) ** 2 + 1


@given(st.lists(st.integers(0, 119), max_size=24, unique=True))
def test_allocations_over_a_whole_server_never_overlap(picks: list[int]) -> None:
    cards = tuple(Card(index, f"uuid-{index}", f"sn-{index}", CARD.pci, standard_nodes(index)) for index in range(8))
    inventory = build(Cards(cards))
    counters = {name: dict(values) for name, values in inventory.counters.items()}
    taken: tuple[Device, ...] = ()
    for pick in picks:
        if is_admitted((*taken, inventory.devices[pick]), counters):
            taken = (*taken, inventory.devices[pick])
    elements = [
        (device.attributes["index"], element)
        for device in taken
        for element in range(
            int(str(device.attributes["peStart"])),
            int(str(device.attributes["peStart"])) + int(str(device.attributes["peCount"])),
        )
    ]
    assert len(elements) == len(set(elements))


@pytest.mark.parametrize("memory_bytes", [48 << 30, 51_002_736_640, 1, 7])
def test_parts_never_have_more_memory_than_the_card(memory_bytes: int) -> None:
    card = Card(0, "u", "s", CARD.pci, standard_nodes(0), memory_bytes=memory_bytes)
    inventory = build(Cards((card,)))
    memory = {device.name: parse_quantity(device.capacity["memory"].value).value for device in inventory.devices}

    assert memory["npu0"] == memory_bytes
    assert 8 * memory["npu0pe0"] <= memory_bytes
    assert memory["npu0pe0-3"] == 4 * memory["npu0pe0"]


def test_without_partitions_there_are_cards_alone(tmp_path: Path) -> None:
    inventory = build(read_cards(RngdServer(tmp_path).host), partitions=False)

    assert [device.name for device in inventory.devices] == [f"npu{index}" for index in range(8)]
    assert inventory.counters == {}
    assert all(not device.consumes for device in inventory.devices)


def test_a_group_without_a_device_file_is_not_offered() -> None:
    card = Card(0, "u", "s", CARD.pci, tuple(name for name in standard_nodes(0) if name != "npu0pe2-3"))

    assert PeRange(2, 2) not in available_parts(card)
    assert len(build(Cards((card,))).devices) == 14


def test_attributes_of_a_card_and_of_a_part(server: Inventory) -> None:
    card, part = server.find("npu5"), server.find("npu5pe4-7")
    assert card is not None
    assert part is not None

    assert card.attributes == {
        "type": "card",
        "index": 5,
        "uuid": "A76AAD68-6855-40B1-9E86-D080852D1C85",
        "cardUUID": "A76AAD68-6855-40B1-9E86-D080852D1C85",
        "serialNumber": "TEST0236FH505KRE5",
        "arch": "rngd",
        "product": "rngd",
        "family": "rngd",
        "firmwareVersion": Version("1.6.0+c1bebfd"),
        "driverVersion": Version("1.9.2+3def9c2"),
        "peStart": 0,
        "peCount": 8,
        "pcieSwitch": "0000:91:00.0",
        "socket": 1,
        "resource.kubernetes.io/pcieRoot": "pci0000:90",
        "resource.kubernetes.io/pciBusID": "0000:a4:00.0",
        "resource.kubernetes.io/numaNode": 1,
        "fairlead.dev/pcieSwitch": "0000:91:00.0",
        "fairlead.dev/socket": 1,
    }
    assert isinstance(card.attributes["firmwareVersion"], Version)
    assert (part.attributes["type"], part.attributes["peStart"], part.attributes["peCount"]) == ("partition", 4, 4)
    assert part.attributes["uuid"] == "A76AAD68-6855-40B1-9E86-D080852D1C85_cores_4-7"
    assert part.attributes["cardUUID"] == card.attributes["uuid"]


def test_what_is_not_told_is_no_attribute() -> None:
    pci = PciFunction("0000:27:00.0", "pci0000:20", None, "1ed2", "0001", None, None)
    device = build(Cards((Card(0, "u", "", pci, standard_nodes(0), firmware="unknown"),))).devices[0]

    for name in ("serialNumber", "firmwareVersion", "driverVersion", "pcieSwitch", "socket"):
        assert name not in device.attributes
    assert "resource.kubernetes.io/numaNode" not in device.attributes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.6.0, c1bebfd", "1.6.0+c1bebfd"),
        ("0.0.15+af1daaa", "0.0.15+af1daaa"),
        ("2026.3.0", "2026.3.0"),
        ("v1.09", "1.9.0"),
        ("1.2.3-rc1", "1.2.3-rc1"),
        ("1.2.3-07", "1.2.3"),
        ("", None),
        ("unknown", None),
        ("1.2.3.4", None),
    ],
)
def test_versions(text: str, expected: str | None) -> None:
    assert version(text) == expected


def test_the_scores_of_the_vendors_own_mock(server: Inventory) -> None:
    scores = {(link.a, link.b): (link.kind, link.score) for link in server.links}

    assert len(scores) == 28
    for a, b in combinations(range(8), 2):
        if a // 2 == b // 2:
            expected = ("bridge", 30)
        elif a // 4 == b // 4:
            expected = ("cpu", 20)
        else:
            expected = ("interconnect", 10)
        assert scores[f"npu{a}", f"npu{b}"] == expected


def test_scores_at_the_edges() -> None:
    def card(bus: str, switch: str | None, numa: int | None, socket: int | None) -> Card:
        return Card(0, "u", "s", PciFunction(bus, "pci0000:20", switch, "1ed2", "1", numa, socket), ())

    one = card("0000:01:00.0", None, 0, None)
    assert link_between(one, one) == ("noc", 70)
    assert link_between(one, card("0000:02:00.0", None, 0, None)) == ("cpu", 20)
    assert link_between(one, card("0000:02:00.0", None, 1, None)) == ("unknown", 0)
    assert link_between(one, card("0000:02:00.0", None, None, None)) == ("unknown", 0)


cards = st.builds(
    Card,
    index=st.integers(0, 63),
    uuid=st.text(min_size=1, max_size=80),
    serial=st.text(max_size=80),
    pci=st.builds(
        PciFunction,
        bus_id=st.integers(0, 255).map(lambda bus: f"0000:{bus:02x}:00.0"),
        root=st.just("pci0000:20"),
        switch=st.none() | st.just("0000:21:00.0"),
        vendor=st.just("1ed2"),
        device=st.just("0001"),
        numa_node=st.none() | st.integers(0, 7),
        socket=st.none() | st.integers(0, 3),
    ),
    nodes=st.just(()),
    product=st.sampled_from(["rngd", "rngd-s", "rngd-max"]),
    firmware=st.text(max_size=80) | st.just("1.6.0, c1bebfd"),
    driver=st.text(max_size=80),
    memory_bytes=st.integers(0, 1 << 40),
)


@given(st.lists(cards, max_size=16, unique_by=lambda card: card.index), st.booleans())
def test_whatever_the_files_say_the_inventory_keeps_the_rules_of_the_api(found: list[Card], partitions: bool) -> None:
    with_nodes = tuple(
        Card(
            **{field: getattr(card, field) for field in card.__dataclass_fields__}
            | {"nodes": standard_nodes(card.index)}
        )
        for card in found
    )
    check_inventory(build(Cards(with_nodes), partitions=partitions), driver="npu.furiosa.ai")
