from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from devices.vendors.nvidia.nvml_machine import A100_MIG, DRIVER, H100, RTX, Model, NvidiaMachine, uuid
from fairlead.devices.cdi import spec as cdi
from fairlead.devices.cdi.rules import validate
from fairlead.devices.errors import ClaimError, ConfigError, ProbeError
from fairlead.devices.health import HEALTHY, Health
from fairlead.devices.vendor import ClaimReference, Grant, Preparation
from fairlead.devices.vendors.nvidia.attach import NoDriver
from fairlead.devices.vendors.nvidia.inventory import ONE_CLAIM, Offer
from fairlead.devices.vendors.nvidia.nvml import Code, NvmlError
from fairlead.devices.vendors.nvidia.recording import Replay
from fairlead.devices.vendors.nvidia.vendor import NvidiaVendor, create

CLAIM = ClaimReference("team", "model", "11111111-2222-3333-4444-555555555555")
OTHER = ClaimReference("team", "other", "99999999-2222-3333-4444-555555555555")


class Node:
    """A machine, its NVML and the vendor on it."""

    def __init__(self, root: Path, model: Model, count: int = 1, offer: Offer = ONE_CLAIM) -> None:
        self.machine = NvidiaMachine(root / "host", model, count)
        self.replay = self.machine.replay()
        self.root = root
        self.offer = offer
        self.vendor = self.start()

    def start(self) -> NvidiaVendor:
        return NvidiaVendor(
            self.machine.host, open_nvml=lambda: self.replay, offer=self.offer, state_folder=self.root / "state"
        )

    def restart(self) -> None:
        self.vendor.close()
        self.vendor = self.start()
        self.vendor.probe()

    def grant(self, name: str, *config: Mapping[str, Any], admin: bool = False) -> Grant:
        device = self.vendor.probe().find(name)
        assert device is not None, name
        return Grant(device=device, request="gpu", config=config, admin_access=admin)

    def prepare(self, claim: ClaimReference, *names: str) -> Preparation:
        return self.vendor.prepare(claim, [self.grant(name) for name in names])

    def unwell(self) -> dict[str, tuple[str, str]]:
        return unwell(self.vendor.health())


def unwell(states: Mapping[str, Health]) -> dict[str, tuple[str, str]]:
    return {name: (health.reason, health.effect) for name, health in states.items() if health != HEALTHY}


def paths(edits: cdi.ContainerEdits) -> list[str]:
    return [node.path for node in edits.device_nodes]


@pytest.fixture
def hgx(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path, H100, 8)
    node.vendor.probe()
    yield node
    node.vendor.close()


@pytest.fixture
def divided(tmp_path: Path) -> Iterator[Node]:
    """An H100 that is divided on demand."""
    node = Node(tmp_path, H100, 1, Offer(dynamic_mig=True))
    for instance in range(1, 8):
        node.machine.capability(0, instance, None, 10 * instance)
        node.machine.capability(0, instance, 0, 10 * instance + 1)
    node.vendor.probe()
    yield node
    node.vendor.close()


# Probing.


def test_no_driver_is_no_gpus(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine = NvidiaMachine(tmp_path, RTX, 0)

    def nothing() -> Replay:
        raise NoDriver("no NVIDIA driver is installed")

    vendor = NvidiaVendor(machine.host, open_nvml=nothing)
    assert vendor.probe().devices == () and vendor.health() == {}
    vendor.probe()
    assert [record.message for record in caplog.records] == ["no NVIDIA GPUs: no NVIDIA driver is installed"]


def test_the_installed_library_is_missing_here_or_works(tmp_path: Path) -> None:
    """Whatever this machine has, its own driver is asked through the real library."""
    (vendor,) = create(NvidiaMachine(tmp_path, RTX, 0).host, "node")
    try:
        assert isinstance(vendor.probe().devices, tuple)
    except ProbeError as error:
        assert "NVIDIA" in str(error)
    finally:
        vendor.close()


def test_a_driver_that_comes_later_is_found(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, RTX, 1)
    installed: list[Replay] = []

    def attach() -> Replay:
        if not installed:
            raise NoDriver("not yet")
        return installed[0]

    vendor = NvidiaVendor(machine.host, open_nvml=attach)
    assert vendor.probe().devices == ()
    installed.append(machine.replay())
    assert [device.name for device in vendor.probe().devices] == ["gpu-0"]
    vendor.close()


def test_a_gpu_lost_between_looks_stays_and_is_unwell(hgx: Node) -> None:
    hgx.replay.lose(uuid(3))
    inventory = hgx.vendor.probe()
    assert [device.name for device in inventory.devices] == [f"gpu-{minor}" for minor in range(8)]
    assert hgx.unwell() == {"gpu-4": ("GpuLost", "NoExecute")}
    hgx.replay.restore(uuid(3))
    hgx.vendor.probe()
    assert hgx.unwell() == {}


@pytest.mark.parametrize("function", ["name", "memory_bytes", "pci_bus_id", "minor", "instance_profile", "link_active"])
def test_a_gpu_lost_in_the_middle_of_the_first_look_is_left_out(tmp_path: Path, function: str) -> None:
    node = Node(tmp_path, H100, 2)
    arguments = (uuid(1), 0) if function in ("instance_profile", "link_active") else (uuid(1),)
    node.replay.fail(Code.GPU_IS_LOST, function, *arguments)
    assert [device.name for device in node.vendor.probe().devices] == ["gpu-1"]
    assert set(node.vendor.health()) == {"gpu-1"}
    node.vendor.close()


def test_all_gpus_lost_is_an_error(tmp_path: Path) -> None:
    node = Node(tmp_path, H100, 2)
    node.replay.lose(uuid(0))
    node.replay.lose(uuid(1))
    with pytest.raises(ProbeError, match="none of 2 GPUs can be described; GPU 0: NVML: uuid answered GPU_IS_LOST"):
        node.vendor.probe()
    node.vendor.close()


def test_two_gpus_of_one_minor_are_refused(tmp_path: Path) -> None:
    node = Node(tmp_path, H100, 2)
    node.replay.answer(0, "minor", uuid(0))
    with pytest.raises(ProbeError, match=f"{uuid(0)} and {uuid(1)} both have minor 0, /dev/nvidia0"):
        node.vendor.probe()
    node.vendor.close()


def test_a_driver_that_stops_answering(hgx: Node) -> None:
    hgx.replay.fail(Code.LIB_RM_VERSION_MISMATCH, "driver_version")
    with pytest.raises(ProbeError, match=r"NVIDIA driver does not answer: .*LIB_RM_VERSION_MISMATCH"):
        hgx.vendor.probe()
    hgx.replay.answer(DRIVER, "driver_version")
    assert len(hgx.vendor.probe().devices) == 8


def test_a_gpu_without_a_place_in_sysfs_works(tmp_path: Path) -> None:
    node = Node(tmp_path, RTX, 1)
    node.machine.remove("/sys/bus/pci/devices/0000:1a:00.0")
    device = node.vendor.probe().devices[0]
    assert "resource.kubernetes.io/pcieRoot" not in device.attributes
    assert device.attributes["resource.kubernetes.io/pciBusID"] == "0000:1a:00.0"
    assert node.vendor.health() == {"gpu-0": HEALTHY}
    node.vendor.close()


# Edits.


def test_a_gpu_gets_its_own_nodes(hgx: Node) -> None:
    assert paths(hgx.vendor.edits(hgx.grant("gpu-7").device)) == [
        "/dev/nvidia7",
        "/dev/dri/card0",
        "/dev/dri/renderD128",
    ]
    common = hgx.vendor.common_edits()
    assert set(paths(common)) == {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"}
    assert "NVIDIA_VISIBLE_DEVICES=void" in common.env
    validate(cdi.Spec("0.6.0", "nvidia.com/gpu", devices=[cdi.Device("gpu-7", container_edits=common)]))


def test_a_claim_lists_its_devices(hgx: Node) -> None:
    prepared = hgx.prepare(CLAIM, "gpu-0", "gpu-1")
    assert prepared.edits.env == [f"NVIDIA_CLAIM_DEVICES={uuid(7)},{uuid(6)}"]
    assert prepared.reports["gpu-0"].data == {"uuid": uuid(7)}


def test_an_unknown_device_is_refused(hgx: Node) -> None:
    grant = hgx.grant("gpu-0")
    hgx.vendor._targets.pop("gpu-0")
    with pytest.raises(ClaimError, match='no device "gpu-0" on this node'):
        hgx.vendor.prepare(CLAIM, [grant])


# MIG that is there.


def test_instances_made_by_hand_are_devices(tmp_path: Path) -> None:
    node = Node(tmp_path, A100_MIG)
    gpu = uuid(0)
    for profile, start, size in ((9, 0, 4), (14, 4, 2)):
        made = node.replay.call("create_gpu_instance", gpu, profile, start, size)
        number = {9: 2, 14: 1}[profile]
        node.replay.call("create_compute_instance", gpu, made["id"], number)
        node.machine.capability(0, made["id"], None, 20 + made["id"])
        node.machine.capability(0, made["id"], 0, 30 + made["id"])
    inventory = node.vendor.probe()
    assert [device.name for device in inventory.devices] == ["gpu-0-mig-3g40gb-9-0", "gpu-0-mig-2g20gb-14-4"]
    device = inventory.devices[1]
    assert device.attributes["profile"] == "2g.20gb" and device.attributes["parentUUID"] == gpu
    assert str(device.attributes["uuid"]).startswith("MIG-")
    assert {name for name in device.capacity if name.startswith("memorySlice")} == {"memorySlice4", "memorySlice5"}
    assert device.capacity["multiprocessors"].value == "28"
    edits = node.vendor.edits(device)
    assert paths(edits) == ["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap22", "/dev/nvidia-caps/nvidia-cap32"]
    assert {node.major for node in edits.device_nodes[1:]} == {509}
    node.machine.write("/proc/driver/nvidia/capabilities/gpu0/mig/gi2/access", "Device")
    with pytest.raises(ProbeError, match='gi2/access: expected a line "DeviceFileMinor: NUMBER", found "Device"'):
        node.vendor.edits(device)
    node.vendor.close()


# MIG on demand.


def test_a_partition_is_made_and_unmade(divided: Node) -> None:
    prepared = divided.prepare(CLAIM, "gpu-0-mig-3g40gb-9-4")
    made = prepared.reports["gpu-0-mig-3g40gb-9-4"].data["uuid"]
    assert prepared.edits.env == [f"NVIDIA_CLAIM_DEVICES={made}"]
    nodes = prepared.device_edits["gpu-0-mig-3g40gb-9-4"].device_nodes
    assert [node.minor for node in nodes if "caps" in node.path] == [10, 11]
    assert divided.unwell() == {}
    changes = [change.split()[0] for change in divided.replay.changes if "register" not in change]
    assert changes == ["set_mig_mode", "create_gpu_instance", "create_compute_instance"]

    again = divided.prepare(CLAIM, "gpu-0-mig-3g40gb-9-4")
    assert again == prepared

    divided.vendor.release(CLAIM, ["gpu-0-mig-3g40gb-9-4"])
    divided.vendor.release(CLAIM, ["gpu-0-mig-3g40gb-9-4"])
    assert [change.split()[0] for change in divided.replay.changes[-3:]] == [
        "destroy_compute_instance", "destroy_gpu_instance", "set_mig_mode",
    ]  # fmt: skip
    assert divided.replay.call("mig_mode", uuid(0))["current"] == 0
    assert divided.prepare(OTHER, "gpu-0").reports["gpu-0"].data == {"uuid": uuid(0)}


def test_a_half_made_partition_is_finished_after_a_crash(divided: Node) -> None:
    divided.replay.call("set_mig_mode", uuid(0), 1)
    divided.replay.call("create_gpu_instance", uuid(0), 19, 3, 1)
    divided.restart()
    name = "gpu-0-mig-1g10gb-19-3"
    prepared = divided.prepare(CLAIM, name)
    assert str(prepared.reports[name].data["uuid"]).startswith("MIG-")
    assert sum(change.startswith("create_gpu_instance") for change in divided.replay.changes) == 1


def test_a_half_unmade_partition_is_finished_after_a_crash(divided: Node) -> None:
    name = "gpu-0-mig-1g10gb-19-3"
    divided.prepare(CLAIM, name)
    divided.replay.call("destroy_compute_instance", uuid(0), 1, 0)
    divided.restart()
    divided.vendor.resume({CLAIM.uid: [name]})
    divided.vendor.release(CLAIM, [name])
    assert divided.replay.call("gpu_instances", uuid(0), 19) == []


def test_every_call_of_making_and_unmaking_may_fail_once(divided: Node) -> None:
    name = "gpu-0-mig-2g20gb-14-2"
    for function, arguments in (
        ("set_mig_mode", (uuid(0), 1)),
        ("create_gpu_instance", (uuid(0), 14, 2, 2)),
        ("create_compute_instance", (uuid(0), 1, 1)),
    ):
        divided.replay.fail(Code.UNKNOWN, function, *arguments)
        with pytest.raises(ClaimError):
            divided.prepare(CLAIM, name)
        divided.replay.fail(Code.SUCCESS, function, *arguments)
    divided.prepare(CLAIM, name)
    for function, arguments in (
        ("destroy_compute_instance", (uuid(0), 1, 0)),
        ("destroy_gpu_instance", (uuid(0), 1)),
    ):
        divided.replay.fail(Code.IN_USE, function, *arguments)
        with pytest.raises(ClaimError, match="a process still uses it"):
            divided.vendor.release(CLAIM, [name])
        divided.replay.fail(Code.SUCCESS, function, *arguments)
    divided.vendor.release(CLAIM, [name])
    assert divided.replay.call("mig_devices", uuid(0)) == []


def test_an_instance_of_a_strangers_keeps_new_claims_away(divided: Node) -> None:
    divided.replay.call("set_mig_mode", uuid(0), 1)
    divided.replay.call("create_gpu_instance", uuid(0), 14, 0, 2)
    divided.vendor.probe()
    found = divided.unwell()
    assert found["gpu-0"] == ("MigInstanceInTheWay", "NoSchedule")
    assert "gpu-0-mig-1g10gb-19-1" in found and "gpu-0-mig-3g40gb-9-0" in found
    assert "gpu-0-mig-1g10gb-19-2" not in found and "gpu-0-mig-2g20gb-14-0" not in found
    with pytest.raises(ClaimError, match=r"in its place lies instance 1 \(profile 14, memory slice 0\)"):
        divided.prepare(CLAIM, "gpu-0-mig-1g10gb-19-1")
    with pytest.raises(ClaimError, match="gpu-0: is divided by MIG"):
        divided.prepare(CLAIM, "gpu-0")


def test_a_partition_whose_gpu_is_lost_is_given_back(divided: Node) -> None:
    divided.prepare(CLAIM, "gpu-0-mig-1g10gb-19-0")
    divided.replay.lose(uuid(0))
    divided.vendor.release(CLAIM, ["gpu-0-mig-1g10gb-19-0"])


def test_a_gpu_that_only_a_reset_divides(tmp_path: Path) -> None:
    """Ampere outside MIG mode is offered whole; in it, in parts."""
    ampere = Model("NVIDIA A100-SXM4-80GB", "20b2", 14, 7, (8, 0), 81920, A100_MIG.profiles)
    node = Node(tmp_path, ampere, 1, Offer(dynamic_mig=True))
    assert [device.name for device in node.vendor.probe().devices] == ["gpu-0"]
    node.vendor.close()


# Health.


def rows(*, pending: bool = False, failure: bool = False) -> Mapping[str, Any]:
    return {"correctable": 0, "uncorrectable": 1, "pending": pending, "failure": failure}


@pytest.mark.parametrize(
    ("answer", "function", "reason", "effect"),
    [
        (3, "ecc_uncorrected", "EccUncorrectable", "NoExecute"),
        (rows(failure=True), "remapped_rows", "RowRemapFailure", "NoSchedule"),
        (rows(pending=True), "remapped_rows", "RowRemapPending", "NoSchedule"),
        (0x40, "clock_reasons", "ThermalSlowdown", "NoSchedule"),
        (0x20, "clock_reasons", "ThermalSlowdown", "NoSchedule"),
        (0x80, "clock_reasons", "PowerSlowdown", "NoSchedule"),
        (0x8, "clock_reasons", "HardwareSlowdown", "NoSchedule"),
        (1, "recovery_action", "RecoveryNeeded", "NoExecute"),
        (4, "recovery_action", "RecoveryNeeded", "NoSchedule"),
    ],
)
def test_what_a_gpu_says_of_itself(hgx: Node, answer: Any, function: str, reason: str, effect: str) -> None:
    assert hgx.unwell() == {}
    before = hgx.replay.call(function, uuid(0))
    hgx.replay.answer(answer, function, uuid(0))
    assert hgx.unwell() == {"gpu-7": (reason, effect)}
    hgx.replay.answer(before, function, uuid(0))
    assert hgx.unwell() == {}


def test_a_software_power_cap_is_ordinary(hgx: Node) -> None:
    hgx.replay.answer(0x4 | 0x10 | 0x2, "clock_reasons", uuid(0))
    assert hgx.unwell() == {}


def test_errors_counted_before_the_first_look_are_not_news(tmp_path: Path) -> None:
    node = Node(tmp_path, H100)
    node.replay.answer(17, "ecc_uncorrected", uuid(0))
    node.vendor.probe()
    assert node.unwell() == {}
    node.replay.answer(18, "ecc_uncorrected", uuid(0))
    assert node.unwell() == {"gpu-0": ("EccUncorrectable", "NoExecute")}
    node.replay.answer(0, "ecc_uncorrected", uuid(0))
    assert node.unwell() == {}
    node.replay.answer(1, "ecc_uncorrected", uuid(0))
    assert node.unwell() == {"gpu-0": ("EccUncorrectable", "NoExecute")}
    node.vendor.close()


def test_pages_that_wait_for_retirement_on_older_models(tmp_path: Path) -> None:
    node = Node(tmp_path, RTX)
    node.replay.answer(1, "retired_pages_pending", uuid(0))
    node.vendor.probe()
    assert node.unwell() == {"gpu-0": ("PageRetirementPending", "NoSchedule")}
    node.vendor.close()


def test_a_link_that_goes_down(hgx: Node) -> None:
    hgx.replay.answer(0, "link_active", uuid(0), 4)
    assert hgx.unwell() == {"gpu-7": ("NvLinkDown", "NoSchedule")}
    assert "NVLink 4 of 18" in hgx.vendor.health()["gpu-7"].message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": 2}, "FabricNotReady"),
        ({"state": 1}, "FabricNotReady"),
        ({"status": 999}, "FabricFailed"),
        ({"health_mask": 0x29}, "FabricDegraded"),
        ({"health_mask": 0x1A}, "FabricDegraded"),
    ],
)
def test_the_fabric_must_be_ready(hgx: Node, change: Mapping[str, int], reason: str) -> None:
    hgx.replay.answer({**hgx.replay.call("fabric", uuid(0)), **change}, "fabric", uuid(0))
    assert hgx.unwell() == {"gpu-7": (reason, "NoSchedule")}


def test_a_failing_call_is_unknown_not_broken(hgx: Node) -> None:
    hgx.replay.fail(Code.UNKNOWN, "ecc_uncorrected", uuid(0))
    health = hgx.vendor.health()["gpu-7"]
    assert (health.state, health.reason) == ("unknown", "Unreadable")
    hgx.replay.fail(Code.RESET_REQUIRED, "ecc_uncorrected", uuid(0))
    assert hgx.unwell() == {"gpu-7": ("RecoveryNeeded", "NoExecute")}


def test_a_consumer_card_is_healthy_without_telling_much(tmp_path: Path) -> None:
    node = Node(tmp_path, RTX, 2)
    node.vendor.probe()
    assert node.vendor.health() == {"gpu-0": HEALTHY, "gpu-1": HEALTHY}
    node.vendor.close()


# Options.


def test_options_are_checked(tmp_path: Path) -> None:
    host = NvidiaMachine(tmp_path, RTX, 1).host
    with pytest.raises(ConfigError, match='option shares: "many"; it is memory, unlimited or a number of shares'):
        create(host, "node", shares="many")
    with pytest.raises(ConfigError, match='option ignored_xids: "13,x"'):
        create(host, "node", ignored_xids="13,x")
    create(host, "node", shares=4, ignored_xids=63)


def test_errors_name_call_and_gpu() -> None:
    error = NvmlError("memory_bytes", 15, uuid(0))
    assert str(error) == f"NVML: memory_bytes of {uuid(0)} answered GPU_IS_LOST (15)"
    assert NvmlError("x", 12345).code == Code.UNKNOWN
