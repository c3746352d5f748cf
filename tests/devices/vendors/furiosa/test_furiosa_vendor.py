from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from devices.vendors.furiosa.rngd_tree import RngdServer, bus_id
from fairlead.devices.cdi import spec as cdi
from fairlead.devices.cdi.rules import validate
from fairlead.devices.errors import ClaimError, ConfigError, ProbeError
from fairlead.devices.health import HEALTHY, Health
from fairlead.devices.host import Host
from fairlead.devices.vendor import ClaimReference, Grant
from fairlead.devices.vendors.furiosa.vendor import FuriosaVendor, create

CLAIM = ClaimReference("team", "model", "11111111-2222-3333-4444-555555555555")
OTHER = ClaimReference("team", "other", "99999999-2222-3333-4444-555555555555")


@pytest.fixture
def server(tmp_path: Path) -> RngdServer:
    return RngdServer(tmp_path, cards=2)


@pytest.fixture
def vendor(server: RngdServer) -> FuriosaVendor:
    vendor = FuriosaVendor(server.host)
    vendor.probe()
    return vendor


def grant(vendor: FuriosaVendor, name: str, *config: Mapping[str, Any], admin: bool = False) -> Grant:
    device = vendor.probe().find(name)
    assert device is not None
    return Grant(device=device, request="npu", config=config, admin_access=admin)


def paths(edits: cdi.ContainerEdits) -> list[str]:
    return [node.path.removeprefix("/dev/rngd/") for node in edits.device_nodes]


def unwell(states: Mapping[str, Health]) -> dict[str, tuple[str, str]]:
    return {name: (health.reason, health.effect) for name, health in states.items() if health != HEALTHY}


def test_a_card_gets_all_of_its_files(server: RngdServer, vendor: FuriosaVendor) -> None:
    edits = vendor.edits(grant(vendor, "npu1").device)

    assert sorted(paths(edits)) == sorted(server.node_names(1))
    assert all(node.host_path == node.path and node.permissions == "rw" for node in edits.device_nodes)


@pytest.mark.parametrize(
    ("name", "elements"),
    [
        ("npu0pe3", {"npu0pe3"}),
        ("npu0pe2-3", {"npu0pe2", "npu0pe3", "npu0pe2-3"}),
        ("npu0pe4-7", {"npu0pe4", "npu0pe5", "npu0pe6", "npu0pe7", "npu0pe4-5", "npu0pe6-7", "npu0pe4-7"}),
    ],
)
def test_a_part_gets_the_common_files_and_those_inside_its_range(
    server: RngdServer, vendor: FuriosaVendor, name: str, elements: set[str]
) -> None:
    common = {node for node in server.node_names(0) if "pe" not in node}
    assert len(common) == 22

    assert set(paths(vendor.edits(grant(vendor, name).device))) == common | elements


def test_the_spec_that_the_driver_writes_is_valid(vendor: FuriosaVendor) -> None:
    devices = [cdi.Device(device.name, container_edits=vendor.edits(device)) for device in vendor.probe().devices]
    devices += [cdi.Device(name, container_edits=edits) for name, edits in vendor.extra_cdi_devices().items()]

    assert len(devices) == 31
    validate(cdi.Spec(cdi_version="0.6.0", kind=vendor.cdi_kind, devices=devices))


def test_all_is_every_card_that_is_there(server: RngdServer, vendor: FuriosaVendor) -> None:
    assert len(vendor.extra_cdi_devices()["all"].device_nodes) == 72
    server.drop_card(0)
    vendor.probe()
    assert sorted(paths(vendor.extra_cdi_devices()["all"])) == sorted(server.node_names(1))


def test_no_cards_no_all(tmp_path: Path) -> None:
    vendor = FuriosaVendor(Host(tmp_path))
    assert vendor.probe().devices == ()
    assert vendor.extra_cdi_devices() == {}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["npu0"], "npu:0"),
        (["npu1", "npu0"], "npu:0,npu:1"),
        (["npu1pe4-7", "npu1pe0", "npu0pe2-3"], "npu:0:2-3,npu:1:0,npu:1:4-7"),
    ],
)
def test_a_claim_names_its_devices_in_furiosa_notation(vendor: FuriosaVendor, names: list[str], expected: str) -> None:
    prepared = vendor.prepare(CLAIM, [grant(vendor, name) for name in names])

    assert prepared.edits.env == [f"FURIOSA_DEVICES={expected}"]
    assert vendor.prepare(CLAIM, [grant(vendor, name) for name in names]) == prepared


def test_a_claim_can_do_without_the_variable(vendor: FuriosaVendor) -> None:
    assert vendor.prepare(CLAIM, [grant(vendor, "npu0", {"environment": False})]).edits.env == ()
    class_then_claim = ({"environment": False}, {"environment": True})
    assert vendor.prepare(CLAIM, [grant(vendor, "npu0", *class_then_claim)]).edits.env == ["FURIOSA_DEVICES=npu:0"]


@pytest.mark.parametrize("config", [{"cores": 4}, {"environment": "yes"}])
def test_parameters_that_are_not_understood(vendor: FuriosaVendor, config: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r'claim team/model: request "npu".*the fields there are: environment'):
        vendor.prepare(CLAIM, [grant(vendor, "npu0", config)])


def test_a_card_that_drops_between_probe_and_prepare(server: RngdServer, vendor: FuriosaVendor) -> None:
    granted = grant(vendor, "npu1pe0-3")
    server.drop_card(1)

    assert unwell(vendor.health())["npu1pe0-3"] == ("Vanished", "NoExecute")
    assert len(unwell(vendor.health())) == 15
    assert [device.name for device in vendor.probe().devices if device.name.startswith("npu1")] == []
    assert vendor.edits(granted.device).device_nodes
    vendor.release(CLAIM, ["npu1pe0-3"])


def test_a_device_that_never_was(vendor: FuriosaVendor) -> None:
    stranger = grant(vendor, "npu0").device.__class__(name="npu7")
    with pytest.raises(ClaimError, match='no device "npu7"'):
        vendor.edits(stranger)


def test_a_card_that_cannot_be_read_for_a_moment_stays_and_is_unknown(
    server: RngdServer, vendor: FuriosaVendor
) -> None:
    before = vendor.probe()
    server.write(f"{server.management(0)}/busname", "")
    server.write(f"{server.management(0)}/pe_occupancy", "0\n")

    assert vendor.probe() == before
    assert vendor.health()["npu0"].state == "unknown"
    assert vendor.health()["npu1"] == HEALTHY


def test_nothing_that_can_be_described_is_an_error_and_not_an_empty_node(server: RngdServer) -> None:
    for index in range(2):
        server.write(f"{server.management(index)}/device_uuid", "")

    with pytest.raises(ProbeError, match=r"none of 2 RNGD cards can be described; npu0: .*device_uuid: is empty"):
        FuriosaVendor(server.host).probe()


def test_the_last_card_that_drops_leaves_an_empty_node(tmp_path: Path) -> None:
    server = RngdServer(tmp_path, cards=1)
    vendor = FuriosaVendor(server.host)
    vendor.probe()
    server.drop_card(0)

    assert vendor.probe().devices == ()


def test_health_of_a_server_that_is_well(vendor: FuriosaVendor) -> None:
    assert len(vendor.health()) == 30
    assert unwell(vendor.health()) == {}


def test_a_dead_card(server: RngdServer, vendor: FuriosaVendor) -> None:
    server.write(f"{server.management(0)}/device_state", "0\n")
    assert unwell(vendor.health())["npu0pe7"] == ("NotAlive", "NoExecute")
    assert len(unwell(vendor.health())) == 15


def test_liveness_that_is_not_told_is_not_taken_for_life(server: RngdServer, vendor: FuriosaVendor) -> None:
    server.remove(f"{server.management(0)}/device_state")
    assert vendor.health()["npu0"].state == "unknown"
    server.write(f"{server.management(0)}/alive", "1\n")
    assert vendor.health()["npu0"] == HEALTHY


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [("temp1_crit_alarm", "1", "ThermalThrottle"), ("power1_cap_alarm", "1", "PowerThrottle")],
)
def test_throttled_cards_get_nothing_new(
    server: RngdServer, vendor: FuriosaVendor, file: str, text: str, reason: str
) -> None:
    server.write(f"{server.hwmon(1)}/{file}", text)
    assert unwell(vendor.health())["npu1"] == (reason, "NoSchedule")
    server.write(f"{server.hwmon(1)}/{file}", "0")
    assert unwell(vendor.health()) == {}


def test_lanes_that_are_gone(server: RngdServer, vendor: FuriosaVendor) -> None:
    server.write(f"/sys/bus/pci/devices/{bus_id(0)}/current_link_width", "4\n")
    health = vendor.health()["npu0"]
    assert (health.reason, health.effect) == ("PcieLinkDegraded", "NoSchedule")
    assert "x4" in health.message


def test_a_narrow_slot_is_no_fault(server: RngdServer, vendor: FuriosaVendor) -> None:
    """A card of 16 lanes in a slot of 8 runs as it should."""
    folder = server.path(f"/sys/bus/pci/devices/{bus_id(0)}").resolve()
    (folder.parent / "max_link_width").write_text("8\n")
    (folder / "current_link_width").write_text("8\n")
    assert unwell(vendor.health()) == {}


def test_use_by_a_claim_is_no_strangers_use(server: RngdServer, vendor: FuriosaVendor) -> None:
    vendor.resume({})
    vendor.prepare(CLAIM, [grant(vendor, "npu0pe0-3")])
    server.occupy(0, 0, 1, 2, 3)
    assert unwell(vendor.health()) == {}

    server.occupy(0, 0, 1, 2, 3, 6)
    assert unwell(vendor.health()) == {
        name: ("OccupiedOutside", "NoSchedule") for name in ("npu0", "npu0pe6", "npu0pe6-7", "npu0pe4-7")
    }

    server.occupy(0, 1)
    vendor.release(CLAIM, ["npu0pe0-3"])
    assert set(unwell(vendor.health())) == {"npu0", "npu0pe1", "npu0pe0-1", "npu0pe0-3"}


def test_claims_of_a_former_process_are_told_or_presumed(server: RngdServer) -> None:
    server.occupy(0, 4, 5)
    untold = FuriosaVendor(server.host)
    untold.probe()
    assert unwell(untold.health()) == {}, "what is busy from the start may be a claim's"
    server.occupy(0)
    untold.health()
    server.occupy(0, 4)
    assert "npu0pe4" in unwell(untold.health()), "it was seen free, and no claim was prepared since"

    server.occupy(0, 4, 5)
    told = FuriosaVendor(server.host)
    told.resume({CLAIM.uid: ["npu0pe4"]})
    told.probe()
    assert "npu0pe4" not in unwell(told.health())
    assert "npu0pe5" in unwell(told.health())


def test_admin_access_holds_nothing(server: RngdServer, vendor: FuriosaVendor) -> None:
    vendor.resume({})
    vendor.prepare(OTHER, [grant(vendor, "npu0", admin=True)])
    server.occupy(0, 0)
    assert "npu0pe0" in unwell(vendor.health())


def test_create_and_classes(server: RngdServer) -> None:
    (vendor,) = create(server.host, "node-1")
    classes = {cls["metadata"]["name"]: cls["spec"] for cls in vendor.device_classes()}

    assert vendor.driver == "npu.furiosa.ai"
    assert list(classes) == [
        "npu.furiosa.ai",
        "partition.npu.furiosa.ai",
        "1core.6gb.npu.furiosa.ai",
        "2core.12gb.npu.furiosa.ai",
        "4core.24gb.npu.furiosa.ai",
    ]
    assert classes["npu.furiosa.ai"]["extendedResourceName"] == "furiosa.ai/rngd"
    (cards_alone,) = create(server.host, "node-1", partitions=False)
    assert [cls["metadata"]["name"] for cls in cards_alone.device_classes()] == ["npu.furiosa.ai"]
    assert len(cards_alone.probe().devices) == 2
    assert len(cards_alone.health()) == 2


def test_a_device_file_that_comes_or_goes_changes_the_edits(tmp_path: Path) -> None:
    RngdServer(tmp_path, cards=1)
    vendor = FuriosaVendor(Host(tmp_path))
    (card,) = (device for device in vendor.probe().devices if device.name == "npu0")
    before = [node.path for node in vendor.edits(card).device_nodes]
    gone = next(path for path in before if "ch0" in path)
    (tmp_path / gone.lstrip("/")).unlink()
    vendor.probe()
    assert [node.path for node in vendor.edits(card).device_nodes] == [path for path in before if path != gone]


def test_parts_are_not_found_where_none_are_offered(tmp_path: Path) -> None:
    RngdServer(tmp_path, cards=1)
    (part, *_) = (device for device in FuriosaVendor(Host(tmp_path)).probe().devices if device.parent)
    vendor = FuriosaVendor(Host(tmp_path), partitions=False)
    assert [device.name for device in vendor.probe().devices] == ["npu0"]
    with pytest.raises(ClaimError, match=f'has no device "{part.name}"'):
        vendor.edits(part)
