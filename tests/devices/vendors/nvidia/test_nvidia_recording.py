from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devices.vendors.nvidia.nvml_machine import H100, RTX, NvidiaMachine, uuid
from fairlead.devices.errors import DeviceError, ProbeError
from fairlead.devices.vendors.nvidia.nvml import Code, Nvml, NvmlError
from fairlead.devices.vendors.nvidia.probe import read_gpus
from fairlead.devices.vendors.nvidia.recording import (
    Recording,
    Replay,
    read_recording,
    record,
    write_recording,
)
from fairlead.devices.vendors.nvidia.vendor import create
from patience import PATIENCE_S


@pytest.mark.parametrize("model", [H100, RTX], ids=lambda model: model.name)
def test_a_recording_of_a_replay_tells_the_same(tmp_path: Path, model: object) -> None:
    machine = NvidiaMachine(tmp_path / "host", model, 2)  # type: ignore[arg-type]
    path = tmp_path / "recording.json"
    write_recording(record(machine.replay(), "a copy"), path)
    copy = read_recording(path)
    assert copy.source == "a copy"
    assert read_gpus(Nvml(Replay(copy)), machine.host) == read_gpus(Nvml(machine.replay()), machine.host)


def test_recording_changes_nothing(tmp_path: Path) -> None:
    replay = NvidiaMachine(tmp_path, H100, 2).replay()
    record(replay, "")
    assert replay.changes == []


def test_a_recorded_machine_stands_in_for_a_driver(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path / "host", H100, 2)
    path = tmp_path / "recording.json"
    write_recording(machine.recording(), path)
    (vendor,) = create(machine.host, "node", recording=str(path), dynamic_mig=True)
    assert len(vendor.probe().devices) == 2 * 26
    vendor.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a recording of NVML"),
        ('{"format": 1, "source": "", "answers": {}}', "missing required field `errors`"),
        ('{"format": 2, "source": "", "answers": {}, "errors": {}}', "recording has format 2, this version reads 1"),
    ],
)
def test_damaged_recordings_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "recording.json"
    path.write_text(text)
    with pytest.raises(ProbeError, match=words):
        read_recording(path)
    with pytest.raises(ProbeError, match="No such file"):
        read_recording(tmp_path / "nothing")


def test_a_recording_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "recording.json"
    write_recording(Recording(1, "before", {}, {}), path)
    with pytest.raises(TypeError):
        write_recording(Recording(1, "after", {"name": object()}, {}), path)
    assert read_recording(path).source == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_answer_of_another_shape_is_told(tmp_path: Path) -> None:
    replay = NvidiaMachine(tmp_path, H100, 1).replay()
    replay.answer({"current": "on"}, "mig_mode", uuid(0))
    with pytest.raises(DeviceError, match=r"mig_mode.*answer is not understood"):
        Nvml(replay).mig_mode(uuid(0))


def test_the_record_command_says_what_is_missing(tmp_path: Path) -> None:
    """With no library at the given place, whatever this machine has."""
    done = subprocess.run(
        [sys.executable, "-m", "fairlead.devices.vendors.nvidia.record", "out.json", "--library", "/nowhere.so"],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "error: NVML: load of /nowhere.so answered LIBRARY_NOT_FOUND (12); is an NVIDIA driver installed here?\n"
    )
    assert list(tmp_path.iterdir()) == []


# The replayed machine keeps to NVML's rules.


def test_replayed_instances_follow_nvmls_rules(tmp_path: Path) -> None:
    nvml, gpu = Nvml(NvidiaMachine(tmp_path, H100, 1).replay()), uuid(0)
    with pytest.raises(NvmlError) as caught:
        nvml.create_gpu_instance(gpu, 19, 0, 1)
    assert caught.value.code == Code.NOT_SUPPORTED
    nvml.set_mig_mode(gpu, True)
    first = nvml.create_gpu_instance(gpu, 20, 0, 1)
    compute = nvml.create_compute_instance(gpu, first.id, 0)
    for arguments, code in (
        ((19, 0, 1), Code.INSUFFICIENT_RESOURCES),
        ((20, 1, 1), Code.INSUFFICIENT_RESOURCES),
        ((19, 7, 1), Code.INVALID_ARGUMENT),
    ):
        with pytest.raises(NvmlError) as caught:
            nvml.create_gpu_instance(gpu, *arguments)
        assert caught.value.code == code
    for refused in (lambda: nvml.destroy_gpu_instance(gpu, first.id), lambda: nvml.set_mig_mode(gpu, False)):
        with pytest.raises(NvmlError) as caught:
            refused()
        assert caught.value.code == Code.IN_USE
    nvml.destroy_compute_instance(gpu, first.id, compute.id)
    nvml.destroy_gpu_instance(gpu, first.id)
    again = nvml.create_gpu_instance(gpu, 20, 0, 1)
    assert nvml.create_compute_instance(gpu, again.id, 0).uuid != compute.uuid
