from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from devices.vendors.tpu.tpu_facts import host
from devices.vendors.tpu.tpu_tree import TpuMachine
from fairlead.devices.cdi import spec as cdi
from fairlead.devices.cdi.rules import validate
from fairlead.devices.errors import ClaimError, ConfigError, ProbeError
from fairlead.devices.health import HEALTHY
from fairlead.devices.inventory import Device
from fairlead.devices.vendor import ClaimReference, Grant
from fairlead.devices.vendors.tpu.environment import claim_environment
from fairlead.devices.vendors.tpu.facts import TPU7X, V4, V5E, V6E, Slice
from fairlead.devices.vendors.tpu.vendor import TpuVendor, create

CLAIM = ClaimReference("team", "model", "11111111-2222-3333-4444-555555555555")


def vendor(machine: TpuMachine, *, groups: bool = False, **environment: str) -> TpuVendor:
    made = TpuVendor(machine.host, "node-1", groups=groups, environment=environment)
    made.probe()
    return made


def grant(made: TpuVendor, index: int, *config: Mapping[str, Any]) -> Grant:
    return Grant(device=made.probe().devices[index], request="tpu", config=config)


def variables(entries: object) -> dict[str, str]:
    assert isinstance(entries, tuple | list)
    return dict(entry.split("=", 1) for entry in entries)


def test_device_files_of_both_drivers(tmp_path: Path) -> None:
    old = vendor(TpuMachine(tmp_path / "v4", "v4", 4))
    assert old.edits(old.probe().devices[2]).device_nodes == [
        cdi.DeviceNode(path="/dev/accel2", host_path="/dev/accel2", permissions="rw")
    ]
    assert old.common_edits().device_nodes == ()

    new = vendor(TpuMachine(tmp_path / "v6e", "v6e", 8), groups=True)
    four = next(device for device in new.probe().devices if device.name == "chips-4-7")
    assert [node.path for node in new.edits(four).device_nodes] == [f"/dev/vfio/{30 - 3 * n}" for n in range(4, 8)]
    assert [node.path for node in new.common_edits().device_nodes] == ["/dev/vfio/vfio"]


def test_the_spec_that_the_driver_writes_is_valid(tmp_path: Path) -> None:
    made = vendor(TpuMachine(tmp_path, "v6e", 8), groups=True)
    devices = [cdi.Device(device.name, container_edits=made.edits(device)) for device in made.probe().devices]
    validate(cdi.Spec("0.6.0", made.cdi_kind, devices=devices, container_edits=made.common_edits()))


def test_a_whole_host_by_itself(tmp_path: Path) -> None:
    made = vendor(TpuMachine(tmp_path, "v6e", 8))
    prepared = made.prepare(CLAIM, [grant(made, index) for index in range(8)])

    assert variables(prepared.edits.env) == {
        "TPU_SKIP_MDS_QUERY": "true",
        "TPU_VISIBLE_CHIPS": "0,1,2,3,4,5,6,7",
        "TPU_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7",
        "TPU_CHIPS_PER_HOST_BOUNDS": "2,4,1",
        "TPU_CHIPS_PER_PROCESS_BOUNDS": "2,4,1",
        "TPU_HOST_BOUNDS": "1,1,1",
        "TPU_PROCESS_BOUNDS": "1,1,1",
        "TPU_WORKER_ID": "0",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_TOPOLOGY": "2x4",
        "TPU_ACCELERATOR_TYPE": "v6e-8",
    }
    assert made.prepare(CLAIM, [grant(made, index) for index in range(8)]) == prepared


def test_a_part_of_a_host_does_not_meet_another() -> None:
    first, second = (variables(claim_environment(host(V5E, 8), chips, CLAIM)) for chips in ([2, 3], [4, 5]))

    assert (first["TPU_VISIBLE_CHIPS"], first["TPU_CHIPS_PER_PROCESS_BOUNDS"]) == ("2,3", "1,2,1")
    assert first["TPU_PROCESS_ADDRESSES"] == f"localhost:{first['TPU_PROCESS_PORT']}"
    assert first["TPU_PROCESS_PORT"] != second["TPU_PROCESS_PORT"]
    assert "TPU_TOPOLOGY" not in first


def test_a_host_of_a_slice() -> None:
    whole = Slice("v4-32", "tpu-v4-podslice", (2, 2, 4), (2, 2, 1), 3, ("w-0", "w-1", "w-2", "w-3"))
    found = variables(claim_environment(host(V4, 4, whole), range(4), CLAIM))

    assert found["TPU_HOST_BOUNDS"] == found["TPU_PROCESS_BOUNDS"] == "1,1,4"
    assert found["TPU_CHIPS_PER_HOST_BOUNDS"] == "2,2,1"
    assert (found["TPU_TOPOLOGY"], found["TPU_ACCELERATOR_TYPE"]) == ("2x2x4", "v4-32")
    assert (found["TPU_WORKER_ID"], found["TPU_WORKER_HOSTNAMES"]) == ("3", "w-0,w-1,w-2,w-3")
    assert found["TPU_TOPOLOGY_WRAP"] == "false,false,false"
    without = variables(claim_environment(host(V4, 4, whole), range(4), CLAIM, worker=False))
    assert "TPU_WORKER_ID" not in without


def test_a_part_of_a_host_of_a_slice_is_by_itself() -> None:
    whole = Slice("v4-32", None, (2, 2, 4), (2, 2, 1), 3, ("w-0", "w-1", "w-2", "w-3"))
    found = variables(claim_environment(host(V4, 4, whole), [0, 1], CLAIM))
    assert (found["TPU_PROCESS_BOUNDS"], found["TPU_WORKER_HOSTNAMES"]) == ("1,1,1", "localhost")


def test_a_worker_whose_neighbours_are_not_named_is_not_numbered() -> None:
    found = variables(claim_environment(host(V4, 4, Slice(topology=(2, 2, 4), worker=3)), range(4), CLAIM))
    assert "TPU_WORKER_ID" not in found
    assert found["TPU_ACCELERATOR_TYPE"] == "v4-32"


@pytest.mark.parametrize(
    ("generation", "topology", "wrap"),
    [
        (V4, (4, 4, 4), "true,true,true"),
        (V4, (4, 4, 2), "false,false,false"),
        (V6E, (16, 16, 1), "true,true,false"),
        (V6E, (8, 16, 1), "false,true,false"),
    ],
)
def test_rings(generation: Any, topology: tuple[int, int, int], wrap: str) -> None:
    found = claim_environment(host(generation, 4, Slice(topology=topology)), range(4), CLAIM)
    assert variables(found)["TPU_TOPOLOGY_WRAP"] == wrap


def test_every_subset_of_eight_chips_is_a_box_or_an_error_with_a_remedy() -> None:
    boxes = [set(range(start, start + size)) for size in (1, 2, 4, 8) for start in range(0, 8, size)]
    for size in range(1, 9):
        for chips in combinations(range(8), size):
            if set(chips) in boxes:
                claim_environment(host(V6E, 8), chips, CLAIM)
                continue
            with pytest.raises(ClaimError, match=r"claim team/model: chips .* ask for one") as error:
                claim_environment(host(V6E, 8), chips, CLAIM)
            assert not error.value.retry


def test_a_generation_that_cannot_be_divided() -> None:
    assert claim_environment(host(TPU7X, 4), range(4), CLAIM)
    with pytest.raises(ClaimError, match="tpu7x runs only with all chips of a host; ask for 4"):
        claim_environment(host(TPU7X, 4), [0], CLAIM)


def test_what_is_left_of_a_host_serves_single_chips() -> None:
    assert claim_environment(host(V6E, 7), [3], CLAIM)
    with pytest.raises(ClaimError, match="a chip of the host is missing"):
        claim_environment(host(V6E, 7), [2, 3], CLAIM)


def test_a_group_and_a_chip_of_one_claim(tmp_path: Path) -> None:
    made = vendor(TpuMachine(tmp_path, "v6e", 8), groups=True)
    by_name = {device.name: device for device in made.probe().devices}
    grants = [Grant(by_name[name], "tpu") for name in ("chips-0-1", "chips-2-3")]
    assert variables(made.prepare(CLAIM, grants).edits.env)["TPU_VISIBLE_CHIPS"] == "0,1,2,3"


def test_parameters(tmp_path: Path) -> None:
    made = vendor(TpuMachine(tmp_path, "v6e", 1))
    assert made.prepare(CLAIM, [grant(made, 0, {"environment": False})]).edits.env == ()
    with pytest.raises(ConfigError, match=r"unknown field `chips`; the fields .*: environment, workerEnvironment"):
        made.prepare(CLAIM, [grant(made, 0, {"chips": 2})])


def test_health(tmp_path: Path) -> None:
    machine = TpuMachine(tmp_path, "v6e", 4)
    made = vendor(machine, groups=True)
    assert set(made.health().values()) == {HEALTHY}
    assert len(made.health()) == 7

    machine.remove(f"{machine.folder(3)}/driver")
    machine.path("/sys/bus/pci/drivers/other").mkdir()
    machine.link(f"{machine.folder(3)}/driver", "/sys/bus/pci/drivers/other")
    found = {name: health.reason for name, health in made.health().items() if health != HEALTHY}
    assert found == {"vfio21": "NotBound", "chips-2-3": "NotBound", "chips-0-3": "NotBound"}

    machine.drop_chip(0)
    found = {name: health.reason for name, health in made.health().items() if health != HEALTHY}
    assert (found["vfio30"], found["chips-0-1"], found["chips-0-3"]) == ("Vanished", "Vanished", "Vanished")
    assert "vfio27" not in found
    assert [device.name for device in made.probe().devices] == ["vfio27", "vfio24", "vfio21"]


def test_health_by_the_accel_driver(tmp_path: Path) -> None:
    machine = TpuMachine(tmp_path, "v4", 2)
    made = vendor(machine)
    machine.write(f"{machine.folder(1)}/accel/accel1/status", "DEAD\n")
    assert made.health()["accel1"].reason == "NotAlive"
    machine.remove("/dev/accel0")
    assert made.health()["accel0"].reason == "NoDeviceFile"


def test_a_chip_that_cannot_be_read_for_a_moment_stays(tmp_path: Path) -> None:
    machine = TpuMachine(tmp_path, "v6e", 8)
    made = vendor(machine, TPU_TOPOLOGY="2x4", TPU_WORKER_ID="0")
    before = made.probe()
    machine.write(f"{machine.folder(2)}/device", "")
    assert made.probe() == before
    machine.remove("/dev/vfio/24")
    assert made.probe() == before
    assert made.health()["vfio24"].reason == "NoDeviceFile"


def test_chips_of_which_none_can_be_described_are_an_error(tmp_path: Path) -> None:
    machine = TpuMachine(tmp_path, "v6e", 2)
    machine.remove("/dev/vfio/30")
    machine.remove("/dev/vfio/27")
    with pytest.raises(ProbeError, match="none of 2 TPU chips can be described"):
        vendor(machine)


def test_a_device_that_never_was(tmp_path: Path) -> None:
    made = vendor(TpuMachine(tmp_path, "v6e", 1))
    with pytest.raises(ClaimError, match='no device "vfio99"'):
        made.edits(Device("vfio99"))


def test_create_and_classes(tmp_path: Path) -> None:
    machine = TpuMachine(tmp_path, "v6e", 4)
    (chips_alone,) = create(machine.host, "node-1")
    (with_groups,) = create(machine.host, "node-1", groups=True)

    assert [cls["metadata"]["name"] for cls in chips_alone.device_classes()] == ["tpu.google.com"]
    assert [cls["metadata"]["name"] for cls in with_groups.device_classes()] == [
        "tpu.google.com",
        "group.tpu.google.com",
    ]
    assert (len(chips_alone.probe().devices), len(with_groups.probe().devices)) == (4, 7)
