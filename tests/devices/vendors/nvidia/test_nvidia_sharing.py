from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from devices.vendors.nvidia.driver_tools import install
from devices.vendors.nvidia.nvml_machine import H100, NvidiaMachine, uuid
from fairlead.devices.errors import ClaimError, ConfigError
from fairlead.devices.vendor import ClaimReference, Grant, Preparation
from fairlead.devices.vendors.nvidia import mps as mps_module
from fairlead.devices.vendors.nvidia.inventory import ONE_CLAIM, Offer
from fairlead.devices.vendors.nvidia.vendor import NvidiaVendor

CLAIM = ClaimReference("team", "model", "11111111-2222-3333-4444-555555555555")
OTHER = ClaimReference("team", "other", "99999999-2222-3333-4444-555555555555")
VERSION = "resource.nvidia.com/v1beta1"


def mps(**settings: Any) -> Mapping[str, Any]:
    return {"apiVersion": VERSION, "kind": "GpuConfig", "sharing": {"strategy": "MPS", "mpsConfig": settings}}


def slicing(interval: str) -> Mapping[str, Any]:
    sharing = {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": interval}}
    return {"apiVersion": VERSION, "kind": "GpuConfig", "sharing": sharing}


class Node:
    def __init__(self, root: Path, offer: Offer = ONE_CLAIM) -> None:
        self.machine = NvidiaMachine(root / "host", H100, 2)
        self.tools = install(root / "host")
        self.replay = self.machine.replay()
        # Sockets have short paths.
        self.state = Path(tempfile.mkdtemp(prefix="mps", dir="/tmp"))
        self.offer = offer
        self.vendor = self.start()

    def start(self) -> NvidiaVendor:
        vendor = NvidiaVendor(
            self.machine.host, open_nvml=lambda: self.replay, offer=self.offer, state_folder=self.state
        )
        vendor.probe()
        return vendor

    def prepare(
        self,
        claim: ClaimReference,
        *names: str,
        config: Mapping[str, Any] | None,
        consumed: Mapping[str, str] | None = None,
    ) -> Preparation:
        inventory = self.vendor.probe()
        grants = []
        for name in names:
            device = inventory.find(name)
            assert device is not None
            grants.append(
                Grant(
                    device=device,
                    request="gpu",
                    config=() if config is None else (config,),
                    share_id="share" if consumed else "",
                    consumed=consumed or {},
                )
            )
        return self.vendor.prepare(claim, grants)

    def daemons(self) -> list[Path]:
        return sorted((self.state / "mps").glob("*"))

    def pid(self) -> int:
        (folder,) = self.daemons()
        return int(msgspec.json.decode((folder / "daemon.json").read_bytes())["pid"])

    def heard(self) -> list[str]:
        (folder,) = self.daemons()
        return [line for line in (folder / "log/control.log").read_text().splitlines() if line != "get_server_list"]

    def smi(self) -> list[str]:
        log = self.tools / "smi.log"
        return log.read_text().splitlines() if log.exists() else []

    def modes(self) -> list[str]:
        return [change.removeprefix("set_compute_mode ") for change in self.replay.changes if "compute_mode" in change]

    def close(self) -> None:
        for claim in (CLAIM, OTHER):
            self.vendor.release(claim, ["gpu-0", "gpu-1"])
        self.vendor.close()
        shutil.rmtree(self.state)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.close()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def await_end(pid: int) -> None:
    for _ in range(500):
        if not runs(pid):
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"process {pid} goes on")


def test_time_slices_are_set_and_taken_back(node: Node) -> None:
    node.prepare(CLAIM, "gpu-0", "gpu-1", config=slicing("Long"))
    assert node.smi() == [f"compute-policy -i {gpu} --set-timeslice 3" for gpu in (uuid(1), uuid(0))]
    assert node.modes() == [f"{uuid(1)} 0", f"{uuid(0)} 0"]
    node.vendor.release(CLAIM, ["gpu-0", "gpu-1"])
    assert node.smi()[2:] == [f"compute-policy -i {gpu} --set-timeslice 0" for gpu in (uuid(1), uuid(0))]
    node.vendor.release(CLAIM, ["gpu-0", "gpu-1"])
    assert len(node.smi()) == 4


def test_nvidia_smi_that_refuses_is_told_as_it_says(node: Node) -> None:
    (node.tools / "smi.refuse").touch()
    with pytest.raises(ClaimError, match=r"set-timeslice 1: ended with 1: Insufficient Permissions"):
        node.prepare(CLAIM, "gpu-0", config=slicing("Short"))
    (node.tools / "smi.refuse").unlink()


def test_a_node_without_tools_says_so(node: Node) -> None:
    (node.tools / "nvidia-smi").unlink()
    (node.tools / "nvidia-cuda-mps-control").unlink()
    node.vendor.close()
    node.vendor = node.start()
    with pytest.raises(ClaimError, match="nvidia-smi is not installed"):
        node.prepare(CLAIM, "gpu-0", config=slicing("Short"))
    with pytest.raises(ClaimError, match="nvidia-cuda-mps-control is not installed"):
        node.prepare(OTHER, "gpu-1", config=mps())
    install(node.machine.root)
    node.vendor.close()
    node.vendor = node.start()


def test_a_claim_has_a_daemon_with_its_limits(node: Node) -> None:
    config = mps(
        defaultActiveThreadPercentage=50,
        defaultPinnedDeviceMemoryLimit="10Gi",
        defaultPerDevicePinnedMemoryLimit={"1": "4Gi"},
    )
    prepared = node.prepare(CLAIM, "gpu-0", "gpu-1", config=config)
    assert node.heard() == [
        f"start -f devices={uuid(1)},{uuid(0)}",
        "set_default_active_thread_percentage 50",
        f"set_default_device_pinned_mem_limit {uuid(1)} 10240M",
        f"set_default_device_pinned_mem_limit {uuid(0)} 4096M",
    ]
    (folder,) = node.daemons()
    edits = prepared.device_edits["gpu-0"]
    assert edits == prepared.device_edits["gpu-1"]
    assert edits.env == ["CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps"]
    assert {mount.container_path: mount.host_path for mount in edits.mounts} == {
        "/dev/shm": "/dev/shm",
        "/tmp/nvidia-mps": str(folder / "pipe"),
    }
    assert node.modes() == [f"{uuid(1)} 3", f"{uuid(0)} 3"]

    pid = node.pid()
    node.vendor.release(CLAIM, ["gpu-0", "gpu-1"])
    assert not runs(pid) and node.daemons() == []
    assert node.modes()[2:] == [f"{uuid(1)} 0", f"{uuid(0)} 0"]


def test_a_daemon_outlives_the_driver_and_is_found_again(node: Node) -> None:
    first = node.prepare(CLAIM, "gpu-0", config=mps())
    pid = node.pid()
    node.vendor.close()
    assert runs(pid)
    node.vendor = node.start()
    assert node.prepare(CLAIM, "gpu-0", config=mps()) == first
    assert node.pid() == pid
    assert sum(line.startswith("start") for line in node.heard()) == 1


def test_a_daemon_whose_record_was_lost_is_not_started_twice(node: Node) -> None:
    node.prepare(CLAIM, "gpu-0", config=mps())
    pid = node.pid()
    (folder,) = node.daemons()
    (folder / "daemon.json").write_text('{"devices": ["GP')
    node.prepare(CLAIM, "gpu-0", config=mps())
    assert sum(line.startswith("start") for line in node.heard()) == 1
    node.vendor.release(CLAIM, ["gpu-0"])
    await_end(pid)


def test_a_daemon_that_dies_is_started_anew(node: Node) -> None:
    node.prepare(CLAIM, "gpu-0", config=mps(defaultActiveThreadPercentage=25))
    pid = node.pid()
    os.kill(pid, signal.SIGKILL)
    await_end(pid)
    node.vendor.health()
    assert node.pid() != pid and runs(node.pid())
    assert node.heard()[-1] == "set_default_active_thread_percentage 25"


def test_a_stopped_daemon_is_ended_by_force(node: Node) -> None:
    node.prepare(CLAIM, "gpu-0", config=mps())
    (folder,) = node.daemons()
    pid = node.pid()
    (folder / "pipe/control").unlink()
    node.vendor.release(CLAIM, ["gpu-0"])
    assert not runs(pid) and node.daemons() == []


@pytest.mark.parametrize("how", ["deaf", "mute"])
@pytest.mark.parametrize("record", ["whole", "torn"])
def test_a_daemon_that_ignores_quit_and_being_ended_is_killed(
    node: Node, monkeypatch: pytest.MonkeyPatch, how: str, record: str
) -> None:
    """It says yes to "quit" and goes on, and ignores SIGTERM; or it takes the command and never answers."""
    node.prepare(CLAIM, "gpu-0", config=mps())
    (folder,) = node.daemons()
    os.kill(node.pid(), signal.SIGKILL)
    await_end(node.pid())
    (folder / "log/deaf").touch()
    (folder / "log" / how).touch()
    node.vendor.health()
    pid = node.pid()
    assert runs(pid)
    if record == "torn":
        (folder / "daemon.json").write_text('{"devices": ["GP')
    monkeypatch.setattr(mps_module, "_COMMAND_S", 0.3)
    monkeypatch.setattr(mps_module, "_STOP_STEPS", 5)
    node.vendor.release(CLAIM, ["gpu-0"])
    assert not runs(pid) and node.daemons() == []
    assert node.modes()[-1] == f"{uuid(1)} 0"


def test_a_server_that_outlives_its_killed_daemon_ends_before_the_next_one_starts_and_with_the_claim(
    node: Node,
) -> None:
    node.prepare(CLAIM, "gpu-0", config=mps())
    (folder,) = node.daemons()

    def server() -> subprocess.Popen[bytes]:
        environment = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe")}
        return subprocess.Popen(["sleep", "300"], env=environment, start_new_session=True)

    with server() as orphan:
        first = node.pid()
        os.kill(first, signal.SIGKILL)
        await_end(first)
        node.vendor.health()
        assert orphan.wait(timeout=30) == -signal.SIGTERM
    assert node.pid() != first and runs(node.pid())
    second = node.pid()
    with server() as orphan:
        os.kill(second, signal.SIGKILL)
        await_end(second)
        node.vendor.release(CLAIM, ["gpu-0"])
        assert orphan.wait(timeout=30) == -signal.SIGTERM
    assert node.daemons() == []


def test_a_daemon_that_cannot_start_is_told(node: Node) -> None:
    key = "11111111-2222-3333-4444-555555555555-"
    node.prepare(CLAIM, "gpu-0", config=mps())
    (folder,) = node.daemons()
    assert folder.name.startswith(key)
    pid = node.pid()
    os.kill(pid, signal.SIGKILL)
    await_end(pid)
    (folder / "log/refuse").touch()
    with pytest.raises(ClaimError, match=r"MPS control daemon ended with 1; see .*/log"):
        node.prepare(CLAIM, "gpu-0", config=mps())


def test_a_daemon_that_ended_before_its_start_was_read_is_not_taken_to_run(node: Node) -> None:
    node.prepare(CLAIM, "gpu-0", config=mps())
    pid = node.pid()
    os.kill(pid, signal.SIGKILL)
    await_end(pid)
    (folder,) = node.daemons()
    record = msgspec.json.decode((folder / "daemon.json").read_bytes())
    (folder / "daemon.json").write_bytes(msgspec.json.encode(record | {"started": -1}))
    node.vendor = node.start()
    node.prepare(CLAIM, "gpu-0", config=mps())
    assert node.pid() != pid and runs(node.pid())


def test_a_dead_daemon_does_not_keep_its_claim(node: Node) -> None:
    node.prepare(CLAIM, "gpu-0", config=mps())
    pid = node.pid()
    os.kill(pid, signal.SIGKILL)
    await_end(pid)
    (folder,) = node.daemons()
    record = msgspec.json.decode((folder / "daemon.json").read_bytes())
    (folder / "daemon.json").write_bytes(msgspec.json.encode(record | {"started": -1}))
    node.vendor = node.start()
    node.vendor.release(CLAIM, ["gpu-0"])
    assert node.daemons() == []


def test_claims_that_share_a_gpu_share_its_daemon(tmp_path: Path) -> None:
    node = Node(tmp_path, Offer(shares=4))
    first = node.prepare(CLAIM, "gpu-0", config=mps(), consumed={"memory": "8Gi", "shares": "1"})
    pid = node.pid()
    second = node.prepare(OTHER, "gpu-0", config=mps(), consumed={"memory": "0", "shares": "2"})
    assert node.pid() == pid and [folder.name for folder in node.daemons()] == [uuid(1)]
    assert first.device_edits["gpu-0"].env == [
        "CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps",
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=8192M",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=25",
    ]
    assert second.device_edits["gpu-0"].env[1:] == ["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=50"]
    node.vendor.release(CLAIM, ["gpu-0"])
    assert runs(pid)
    node.vendor.release(OTHER, ["gpu-0"])
    assert not runs(pid)
    node.close()


def test_claims_that_share_a_gpu_must_agree_on_mps(tmp_path: Path) -> None:
    node = Node(tmp_path, Offer(shares="memory"))
    node.prepare(CLAIM, "gpu-0", config=None, consumed={"memory": "8Gi"})
    with pytest.raises(ClaimError, match=f"asks for MPS on {uuid(1)}, which claim {CLAIM.uid} shares without it"):
        node.prepare(OTHER, "gpu-0", config=mps(), consumed={"memory": "8Gi"})
    node.vendor.release(CLAIM, ["gpu-0"])
    node.prepare(OTHER, "gpu-0", config=mps(), consumed={"memory": "8Gi"})
    with pytest.raises(ClaimError, match=f"asks for no MPS on {uuid(1)}, which claim {OTHER.uid} shares with it"):
        node.prepare(CLAIM, "gpu-0", config=None, consumed={"memory": "8Gi"})
    node.close()


def test_a_lost_gpu_does_not_hold_its_claim(node: Node) -> None:
    node.prepare(CLAIM, "gpu-0", config=slicing("Short"))
    node.prepare(OTHER, "gpu-1", config=mps())
    node.replay.lose(uuid(0))
    node.replay.lose(uuid(1))
    (node.tools / "smi.refuse").touch()
    node.vendor.release(CLAIM, ["gpu-0"])
    node.vendor.release(OTHER, ["gpu-1"])
    assert node.daemons() == []


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    node = Node(tmp_path)
    shutil.rmtree(node.state)
    node.state.write_text("in the way")
    with pytest.raises(ClaimError, match=r"sharing settings cannot be written: .*; see the option state_folder"):
        node.prepare(CLAIM, "gpu-0", config=slicing("Short"))
    node.vendor.close()
    node.state.unlink()


def gpu_config(**fields: Any) -> Mapping[str, Any]:
    return {"apiVersion": VERSION, "kind": "GpuConfig", **fields}


KINDS = "this driver takes GpuConfig, MigDeviceConfig, VfioDeviceConfig"
INTERVALS = "sharing.timeSlicingConfig.interval is one of Default, Short, Medium, Long"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (gpu_config() | {"apiVersion": "x/v1"}, f'apiVersion is "x/v1"; this driver takes {VERSION}'),
        (gpu_config() | {"kind": "GpuConfigs"}, f'kind is "GpuConfigs"; {KINDS}'),
        (gpu_config(sharin={}), "unknown field `sharin`; its fields are apiVersion, kind, sharing"),
        (slicing("Longest"), f"Invalid enum value 'Longest' - at `$.sharing.timeSlicingConfig.interval`; {INTERVALS}"),
        (gpu_config(sharing={"strategy": "mps"}), "sharing.strategy is TimeSlicing or MPS"),
        (gpu_config(sharing={"strategy": "MPS", "timeSlicingConfig": {}}), "timeSlicingConfig is given with strategy"),
        (gpu_config(sharing={"strategy": "TimeSlicing", "mpsConfig": {}}), "mpsConfig is given with strategy"),
        (mps(defaultActiveThreadPercentage=101), "defaultActiveThreadPercentage is 101; it must be 0 to 100"),
        (mps(threads=3), "unknown field `threads` - at `$.sharing.mpsConfig`; mpsConfig has the fields defaultActive"),
        (mps(defaultPinnedDeviceMemoryLimit="some"), 'defaultPinnedDeviceMemoryLimit: "some" is no quantity'),
        (mps(defaultPinnedDeviceMemoryLimit="512Ki"), "is less than 1Mi"),
        (mps(defaultPinnedDeviceMemoryLimit="1e999999"), "is more than any GPU has"),
        (mps(defaultPinnedDeviceMemoryLimit=10**30), "is more than any GPU has"),
        (mps(defaultPinnedDeviceMemoryLimit="9" * 6000), "is no quantity"),
        (mps(defaultPinnedDeviceMemoryLimit="1Gi\nquit"), "is no quantity"),
        (mps(defaultPerDevicePinnedMemoryLimit={"²": "1Gi"}), 'no device "²"; name one by UUID'),
        (mps(defaultPerDevicePinnedMemoryLimit={"9" * 5000: "1Gi"}), "name one by UUID or by its number"),
        (mps(defaultPerDevicePinnedMemoryLimit={"0\nquit": "1Gi"}), "name one by UUID or by its number"),
        (mps(defaultPerDevicePinnedMemoryLimit={"2": "1Gi"}), 'no device "2"; name one by UUID or by its number'),
    ],
)
def test_configurations_are_refused_by_field_and_value(node: Node, document: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        node.prepare(CLAIM, "gpu-0", config=document)
    assert words in str(caught.value)


def test_a_refused_configuration_leaves_nothing_behind(node: Node) -> None:
    with pytest.raises(ConfigError):
        node.prepare(CLAIM, "gpu-0", config=mps(defaultPinnedDeviceMemoryLimit="512Ki"))
    assert node.daemons() == [] and node.modes() == []
