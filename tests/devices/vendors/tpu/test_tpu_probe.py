from pathlib import Path

import pytest

from devices.vendors.tpu.tpu_tree import TpuMachine
from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host
from fairlead.devices.vendors.tpu.facts import Slice, TpuHost
from fairlead.devices.vendors.tpu.probe import read_host, read_state

MULTI_HOST = {
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_TOPOLOGY": "4x4",
    "TPU_WORKER_ID": "2",
    "TPU_WORKER_HOSTNAMES": "w-0,w-1,w-2,w-3",
    "TPU_CHIPS_PER_HOST_BOUNDS": "2,2,1",
}
FILE = """ACCELERATOR_TYPE: 'v5litepod-16'
CHIPS_PER_HOST_BOUNDS: '2,2,1'
HOST_BOUNDS: '2,2,1'
WORKER_ID: '3'
ZONE: 'europe-west4-b'
"""


def read(machine: TpuMachine, **environment: str) -> TpuHost:
    return read_host(machine.host, environment)


@pytest.mark.parametrize(
    ("generation", "count", "name", "memory_gib"),
    [("v4", 4, "v4", 32), ("v5litepod", 4, "v5litepod", 16), ("v5p", 4, "v5p", 95), ("v6e", 8, "v6e", 32)],
)
def test_hosts(tmp_path: Path, generation: str, count: int, name: str, memory_gib: int) -> None:
    found = read(TpuMachine(tmp_path, generation, count))

    assert found.generation is not None
    assert (found.generation.name, found.generation.memory_bytes) == (name, memory_gib << 30)
    assert [chip.index for chip in found.chips] == list(range(count))
    assert not found.skipped
    assert not found.unclear
    assert found.slice == Slice()
    assert {chip.pci.numa_node for chip in found.chips} == {0, 1}


def test_files_of_the_accel_driver_and_of_vfio(tmp_path: Path) -> None:
    old = read(TpuMachine(tmp_path / "v4", "v4", 4))
    new = read(TpuMachine(tmp_path / "v6e", "v6e", 4))

    assert [(chip.name, chip.node) for chip in old.chips][:2] == [("accel0", "/dev/accel0"), ("accel1", "/dev/accel1")]
    assert [(chip.name, chip.node) for chip in new.chips][:2] == [
        ("vfio30", "/dev/vfio/30"),
        ("vfio27", "/dev/vfio/27"),
    ]


def test_accel_numbers_need_not_follow_bus_ids(tmp_path: Path) -> None:
    machine = TpuMachine(tmp_path, "v4", 2)
    for accel, index in (("accel0", 1), ("accel1", 0)):
        machine.remove(f"/sys/class/accel/{accel}")
        machine.write(f"{machine.folder(index)}/accel/{accel}/status", "ALIVE")
        machine.link(f"{machine.folder(index)}/accel/{accel}/device", machine.folder(index))
        machine.link(f"/sys/class/accel/{accel}", f"{machine.folder(index)}/accel/{accel}")

    assert [(chip.index, chip.node) for chip in read(machine).chips] == [(0, "/dev/accel1"), (1, "/dev/accel0")]


@pytest.mark.parametrize(("subsystem", "name"), [("0x004e", "v2"), ("0x004f", "v3"), (None, "v3")])
def test_two_generations_with_one_id(tmp_path: Path, subsystem: str | None, name: str) -> None:
    machine = TpuMachine(tmp_path, "v4", 1)
    machine.write(f"{machine.folder(0)}/device", "0x0027\n")
    if subsystem:
        machine.write(f"{machine.folder(0)}/subsystem_device", f"{subsystem}\n")

    generation = read(machine).generation
    assert generation is not None
    assert generation.name == name


def test_a_chip_of_two_functions_is_one_chip(tmp_path: Path) -> None:
    machine = TpuMachine(tmp_path, "tpu7x", 2)
    machine.pci("pci0000:00/0000:00:04.1", vendor="1ae0", device="0076", driver="vfio-pci")
    machine.path("/sys/kernel/iommu_groups/77").mkdir()
    machine.link("/sys/devices/pci0000:00/0000:00:04.1/iommu_group", "/sys/kernel/iommu_groups/77")
    machine.device_node("/dev/vfio/77", 236, 77)

    chips = read(machine).chips
    assert [(chip.node, chip.more_nodes) for chip in chips] == [
        ("/dev/vfio/30", ("/dev/vfio/77",)),
        ("/dev/vfio/27", ()),
    ]


def test_a_machine_without_chips(tmp_path: Path) -> None:
    assert read_host(Host(tmp_path), {}) == TpuHost()
    assert read(TpuMachine(tmp_path, "v4", 0)) == TpuHost(), "a network card of the same vendor is no chip"


def test_two_generations_side_by_side(tmp_path: Path) -> None:
    machine = TpuMachine(tmp_path, "v6e", 2)
    machine.write(f"{machine.folder(1)}/device", "0x0063\n")

    with pytest.raises(ProbeError, match="generations v5litepod, v6e"):
        read(machine)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("unbound", "no driver is bound"),
        ("no file", "there is no device file /dev/vfio/27"),
        ("cut off", "device: is empty"),
        ("dangling", "cannot be followed"),
    ],
)
def test_a_chip_that_cannot_be_described_hides_no_other(tmp_path: Path, damage: str, reason: str) -> None:
    machine = TpuMachine(tmp_path, "v5litepod", 4)
    if damage == "unbound":
        machine.remove(f"{machine.folder(1)}/iommu_group")
    elif damage == "no file":
        machine.remove("/dev/vfio/27")
    elif damage == "cut off":
        machine.write(f"{machine.folder(1)}/device", "")
    else:
        machine.path("/sys/kernel/iommu_groups/27").rmdir()
        machine.remove(f"{machine.folder(1)}/iommu_group")
        machine.path(f"{machine.folder(1)}/iommu_group").symlink_to("iommu_group")

    found = read(machine)
    assert [chip.node for chip in found.chips] == ["/dev/vfio/30", "/dev/vfio/24", "/dev/vfio/21"]
    assert [skipped.name for skipped in found.skipped] == [machine.bus_id(1)]
    if damage != "dangling":
        assert reason in found.skipped[0].reason


def test_a_slice_from_variables(tmp_path: Path) -> None:
    found = read(TpuMachine(tmp_path, "v5litepod", 4), **MULTI_HOST)

    assert found.slice == Slice(
        accelerator_type="v5litepod-16",
        accelerator="tpu-v5-lite-podslice",
        topology=(4, 4, 1),
        chips_per_host=(2, 2, 1),
        worker=2,
        worker_hostnames=("w-0", "w-1", "w-2", "w-3"),
    )
    assert not found.unclear


def test_a_slice_from_the_platforms_file_and_variables_that_win(tmp_path: Path) -> None:
    machine = TpuMachine(tmp_path, "v5litepod", 4)
    machine.write("/home/tpu-runtime/tpu-env", FILE)

    assert read(machine).slice == Slice("v5litepod-16", "tpu-v5-lite-podslice", (4, 4, 1), (2, 2, 1), 3)
    machine.write("/etc/tpu/tpu-env", FILE.replace("'3'", "'1'"))
    assert read(machine).slice.worker == 1, "the first file that is there counts"
    assert read(machine, TPU_WORKER_ID="0").slice.worker == 0


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("TPU_TOPOLOGY", "4by4", "no shape"),
        ("TPU_TOPOLOGY", "0x4", "no shape"),
        ("TPU_TOPOLOGY", "3x3", "not made of hosts"),
        ("TPU_WORKER_ID", "4", "no number below 4"),
        ("TPU_WORKER_ID", "first", "no number"),
        ("TPU_CHIPS_PER_HOST_BOUNDS", "2,4,1", "is for 8 chips a host; 4 are here"),
        ("TPU_ACCELERATOR_TYPE", "Ironwood!", "not of the form"),
        ("TPU_WORKER_HOSTNAMES", "w-0,-", "no list of host names"),
    ],
)
def test_values_that_make_no_sense_are_left_out_with_a_reason(
    tmp_path: Path, variable: str, value: str, reason: str
) -> None:
    found = read(TpuMachine(tmp_path, "v5litepod", 4), **(MULTI_HOST | {variable: value}))

    assert [entry.name for entry in found.unclear] == [variable.removeprefix("TPU_")]
    assert reason in found.unclear[0].reason
    assert len(found.chips) == 4


def test_a_platform_file_of_bytes(tmp_path: Path) -> None:
    machine = TpuMachine(tmp_path, "v5litepod", 4)
    machine.write("/etc/tpu/tpu-env", "")
    machine.path("/etc/tpu/tpu-env").write_bytes(b"\xff\xff")

    found = read(machine)
    assert found.slice == Slice()
    assert [entry.name for entry in found.unclear] == ["/etc/tpu/tpu-env"]


def test_states(tmp_path: Path) -> None:
    machine = TpuMachine(tmp_path / "v4", "v4", 2)
    first, second = read(machine).chips
    assert read_state(machine.host, first).status == "ALIVE"
    machine.write(f"{machine.folder(0)}/accel/accel0/status", "dead\n")
    assert read_state(machine.host, first).status == "DEAD"
    machine.drop_chip(1)
    assert not read_state(machine.host, second).present

    later = TpuMachine(tmp_path / "v6e", "v6e", 1)
    chip = read(later).chips[0]
    assert read_state(later.host, chip).driver == "vfio-pci"
    later.remove("/dev/vfio/30")
    assert not read_state(later.host, chip).has_node
