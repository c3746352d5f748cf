"""The layer over pynvml, against a library that is built for it: each call in a process of its own, as pynvml loads one
library a process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from patience import PATIENCE_S

COMPILER = shutil.which("cc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="a C compiler builds the stand-in for NVML")

_ASK = """
import json, sys
from pathlib import Path
from fairlead.devices.vendors.nvidia.installed import PynvmlLibrary
from fairlead.devices.vendors.nvidia.nvml import NvmlError
library = PynvmlLibrary(Path(sys.argv[1]))
answers = []
for function, *arguments in json.loads(sys.argv[2]):
    try:
        answers.append(library.call(function, *arguments))
    except NvmlError as error:
        answers.append(error.code.name)
library.close()
print(json.dumps(answers))
"""
_OPEN = """
import sys
from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host
from fairlead.devices.vendors.nvidia.attach import open_library
try:
    print(open_library(Host(sys.argv[1])).call("driver_version"))
except ProbeError as error:
    print(type(error).__name__, error)
"""


def build(folder: Path, *flags: str) -> Path:
    assert COMPILER is not None
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("stub_nvml.c")
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", *flags, "-o", str(library), str(source)], check=True, timeout=PATIENCE_S
    )
    return library


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(library: Path, calls: Sequence[Sequence[str | int]]) -> list[Any]:
    answers = json.loads(run(_ASK, str(library), json.dumps(calls)))
    assert isinstance(answers, list)
    return answers


GPU = "GPU-stub"
CALLS: Sequence[tuple[tuple[str | int, ...], Any]] = (
    (("driver_version",), "580.95.05"),
    (("cuda_driver_version",), 13000),
    (("device_count",), 2),
    (("uuid", 0), GPU),
    (("uuid", 1), "GPU_IS_LOST"),
    (("minor", "GPU-other"), "NOT_FOUND"),
    (("index", GPU), 0),
    (("minor", GPU), 3),
    (("name", GPU), "NVIDIA H100 80GB HBM3"),
    (("brand", GPU), 14),
    (("architecture", GPU), 9),
    (("compute_capability", GPU), [9, 0]),
    (("memory_bytes", GPU), 85520809984),
    (("pci_bus_id", GPU), "00000000:1B:00.0"),
    (("serial", GPU), "NOT_SUPPORTED"),
    (("module_id", GPU), 4),
    (("addressing_mode", GPU), "FUNCTION_NOT_FOUND"),
    (("set_compute_mode", GPU, 3), None),
    (("set_compute_mode", GPU, 0), "NO_PERMISSION"),
    (("mig_mode", GPU), {"current": 1, "pending": 1}),
    (("set_mig_mode", GPU, 1), 19),
    (
        ("instance_profile", GPU, 1),
        {"id": 14, "slice_count": 2, "instance_count": 3, "multiprocessors": 32, "copy_engines": 2, "decoders": 2,
         "encoders": 0, "jpeg_engines": 2, "ofa_engines": 0, "memory_mib": 20096, "name": "MIG 2g.20gb"},
    ),
    (("instance_profile", GPU, 0), "NOT_SUPPORTED"),
    (("placements", GPU, 14), [{"start": start, "size": 2} for start in (0, 2, 4)]),
    (("gpu_instances", GPU, 14), [{"id": 5, "profile_id": 14, "start": 4, "size": 2}]),
    (("create_gpu_instance", GPU, 14, 4, 2), {"id": 5, "profile_id": 14, "start": 4, "size": 2}),
    (("create_gpu_instance", GPU, 14, 0, 2), "INSUFFICIENT_RESOURCES"),
    (("compute_profile", GPU, 5, 1), {"id": 1, "slice_count": 2}),
    (("compute_instances", GPU, 5), [{"id": 0, "profile_id": 1, "uuid": "MIG-stub"}]),
    (("create_compute_instance", GPU, 5, 1), {"id": 0, "profile_id": 1, "uuid": "MIG-stub"}),
    (("destroy_compute_instance", GPU, 5, 0), None),
    (("destroy_compute_instance", GPU, 5, 1), "NOT_FOUND"),
    (("destroy_gpu_instance", GPU, 5), None),
    (("mig_devices", GPU), [{"uuid": "MIG-stub", "gpu_instance": 5, "compute_instance": 0}]),
    (("link_active", GPU, 1), 1),
    (("link_active", GPU, 2), "INVALID_ARGUMENT"),
    (("link_remote_type", GPU, 0), 2),
    (("link_remote_bus_id", GPU, 0), "00000000:A1:00.0"),
    (
        ("fabric", GPU),
        {"cluster_uuid": "01020304-0506-0708-090a-0b0c0d0e0f10", "clique_id": 7, "state": 3, "status": 0,
         "health_mask": 42},
    ),
    (("ecc_uncorrected", GPU), 1 << 40),
    (("remapped_rows", GPU), {"correctable": 1, "uncorrectable": 2, "pending": True, "failure": False}),
    (("retired_pages_pending", GPU), "NOT_SUPPORTED"),
    (("clock_reasons", GPU), 0x44),
    (("recovery_action", GPU), 4),
    (("supported_events", GPU), 0x18F),
    (("register_events", GPU, 0xA), None),
    (("wait_event", 10), {"uuid": GPU, "type": 8, "data": 79, "gpu_instance": 5, "compute_instance": 0}),
    (("wait_event", 10), "TIMEOUT"),
)  # fmt: skip


def test_every_call_reaches_nvml_and_comes_back(tmp_path: Path) -> None:
    answers = ask(build(tmp_path), [call for call, _ in CALLS])
    assert dict(enumerate(answers)) == {number: answer for number, (_, answer) in enumerate(CALLS)}


def test_the_library_below_a_root_is_used(tmp_path: Path) -> None:
    build(tmp_path / "usr/lib/x86_64-linux-gnu")
    assert run(_OPEN, str(tmp_path)) == "580.95.05\n"


def test_a_library_that_does_not_match_the_kernel_is_told(tmp_path: Path) -> None:
    build(tmp_path / "usr/lib64", "-DSTUB_MISMATCH")
    (tmp_path / "sys/module/nvidia").mkdir(parents=True)
    (tmp_path / "sys/module/nvidia/version").write_text("570.86.15\n")
    told = run(_OPEN, str(tmp_path))
    assert told.startswith("ProbeError the NVIDIA library (")
    assert "the loaded kernel module (version 570.86.15) differ" in told


def test_the_record_command_writes_a_machine_down(tmp_path: Path) -> None:
    library = build(tmp_path)
    command = [sys.executable, "-m", "fairlead.devices.vendors.nvidia.record", "out.json", "--library", str(library)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    recording = json.loads((tmp_path / "out.json").read_text())
    assert recording["answers"][f"placements {GPU} 14"][2] == {"start": 4, "size": 2}
    assert recording["errors"]["uuid 1"] == 15
