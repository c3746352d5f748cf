"""A driver killed (SIGKILL) before and after every change that it makes to a GPU, on hardware that remembers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[3]
_SCRIPT = """
import json, os, pickle, signal, sys
from pathlib import Path
from devices.vendors.nvidia.nvml_machine import H100, NvidiaMachine, uuid
from fairlead.devices.vendor import ClaimReference, Grant
from fairlead.devices.vendors.nvidia.inventory import Offer
from fairlead.devices.vendors.nvidia.recording import Replay
from fairlead.devices.vendors.nvidia.vendor import NvidiaVendor

folder, dies_in, then = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
memory = folder / "gpu"
claim = ClaimReference("team", "model", "uid-1")
name = "gpu-0-mig-3g40gb-9-4"
machine = NvidiaMachine(folder / "host", H100, 1)
for instance in range(1, 8):
    machine.capability(0, instance, None, 10 * instance)
    machine.capability(0, instance, 0, 10 * instance + 1)
WATCHED = ("set_mig_mode", "create_", "destroy_")

class Gpu(Replay):
    # What it is like outlives the process that changes it.
    def __init__(self, kill_at=0):
        super().__init__(machine.recording())
        self.steps, self.kill_at = 0, kill_at
        if memory.exists():
            self._answers, self._created = pickle.loads(memory.read_bytes())

    def step(self):
        self.steps += 1
        if self.steps == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def call(self, function, *arguments):
        if not function.startswith(WATCHED):
            return super().call(function, *arguments)
        self.step()
        answer = super().call(function, *arguments)
        memory.write_bytes(pickle.dumps((self._answers, self._created)))
        self.step()
        return answer

def start(gpu, held):
    vendor = NvidiaVendor(
        machine.host, open_nvml=lambda: gpu, offer=Offer(dynamic_mig=True), state_folder=folder / "state"
    )
    if held:
        vendor.resume({"uid-1": [name]})
    return vendor, vendor.probe().find(name)

def apart(work):
    # In a process of its own; says whether it lived to the end.
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status == 0

def prepare(kill_at=0, held=False):
    vendor, device = start(Gpu(kill_at), held)
    prepared = vendor.prepare(claim, [Grant(device=device, request="gpu")])
    assert prepared.reports[name].data["uuid"].startswith("MIG-")

def release(kill_at=0):
    vendor, _ = start(Gpu(kill_at), True)
    vendor.release(claim, [name])

found, number = [], 0
while True:
    number += 1
    memory.unlink(missing_ok=True)
    if dies_in == "release":
        apart(prepare)
    lived = apart(lambda: prepare(number) if dies_in == "prepare" else release(number))
    assert apart(lambda: prepare(held=True) if then == "prepare" else release())
    gpu = Gpu()
    made = gpu.call("gpu_instances", uuid(0), 9)
    computes = [len(gpu.call("compute_instances", uuid(0), one["id"])) for one in made]
    found.append([gpu.call("mig_mode", uuid(0))["current"], [one["start"] for one in made], computes])
    if lived:
        break
print(json.dumps(found))
"""


@pytest.mark.parametrize("dies_in", ["prepare", "release"])
@pytest.mark.parametrize("then", ["prepare", "release"])
def test_a_partition_that_a_killed_driver_left_is_finished_or_removed(tmp_path: Path, dies_in: str, then: str) -> None:
    """The driver's record names the claim before anything is made: its successor is asked to go on, or to undo."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path), dies_in, then],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
    )
    assert done.returncode == 0, done.stderr
    found: Any = json.loads(done.stdout)
    assert len(found) == 7, "three changes, before and after each, and none"
    assert found == [[1, [4], [1]] if then == "prepare" else [0, [], []]] * 7
