"""Machines with NVIDIA GPUs, as NVML and Linux show them: recordings built with values of the documented shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from devices.vendors.sysfs_machine import Machine
from fairlead.devices.vendors.nvidia.nvml import Code
from fairlead.devices.vendors.nvidia.recording import FORMAT, Recording, Replay, key

DRIVER = "580.95.05"
CLUSTER = "3f1b8a4e-7a4c-4f0e-9d2b-5c6d7e8f9a0b"

# As nvidia-smi mig -lgip and -lgipp list them: number, id, name, slices, instances, memory in MiB, (SM, CE, DEC, ENC,
# JPEG, OFA), starts, size.
Row = tuple[int, int, str, int, int, int, tuple[int, int, int, int, int, int], Sequence[int], int]
H100_PROFILES: tuple[Row, ...] = (
    (0, 19, "MIG 1g.10gb", 1, 7, 9984, (16, 1, 1, 0, 1, 0), range(7), 1),
    (1, 14, "MIG 2g.20gb", 2, 3, 20096, (32, 2, 2, 0, 2, 0), (0, 2, 4), 2),
    (2, 9, "MIG 3g.40gb", 3, 2, 40448, (60, 3, 3, 0, 3, 0), (0, 4), 4),
    (3, 5, "MIG 4g.40gb", 4, 1, 40448, (64, 4, 4, 0, 4, 0), (0,), 4),
    (4, 0, "MIG 7g.80gb", 7, 1, 81152, (132, 8, 7, 0, 7, 1), (0,), 8),
    (7, 20, "MIG 1g.10gb+me", 1, 1, 9984, (16, 1, 1, 0, 1, 1), range(7), 1),
    (9, 15, "MIG 1g.20gb", 1, 4, 20096, (26, 1, 1, 0, 1, 0), (0, 2, 4, 6), 2),
)
A100_PROFILES: tuple[Row, ...] = (
    (0, 19, "", 1, 7, 9728, (14, 1, 0, 0, 0, 0), range(7), 1),
    (1, 14, "", 2, 3, 19968, (28, 2, 1, 0, 0, 0), (0, 2, 4), 2),
    (2, 9, "", 3, 2, 40192, (42, 3, 2, 0, 0, 0), (0, 4), 4),
    (3, 5, "", 4, 1, 40192, (56, 4, 2, 0, 0, 0), (0,), 4),
    (4, 0, "", 7, 1, 80896, (98, 7, 5, 0, 1, 1), (0,), 8),
    (7, 20, "", 1, 1, 9728, (14, 1, 1, 0, 1, 1), range(7), 1),
    (9, 15, "", 1, 4, 19968, (14, 1, 1, 0, 0, 0), (0, 2, 4, 6), 2),
)


@dataclass(frozen=True)
class Model:
    name: str
    pci_device: str
    brand: int
    architecture: int
    capability: tuple[int, int]
    memory_mib: int
    profiles: tuple[Row, ...] = ()
    mig: bool = False
    ecc: bool = True
    links: int = 0
    switched: bool = False
    fabric: Mapping[str, Any] | None = None
    module: bool = False
    addressing: int | None = None


def _fabric(cluster: str, clique: int) -> Mapping[str, Any]:
    return {"cluster_uuid": cluster, "clique_id": clique, "state": 3, "status": 0, "health_mask": 0x2A}


NO_CLUSTER = "00000000-0000-0000-0000-000000000000"
H100 = Model(
    "NVIDIA H100 80GB HBM3", "2330", 14, 9, (9, 0), 81559, H100_PROFILES,
    links=18, switched=True, module=True, fabric=_fabric(NO_CLUSTER, 0),
)  # fmt: skip
A100_MIG = Model(
    "NVIDIA A100-SXM4-80GB", "20b2", 14, 7, (8, 0), 81920, A100_PROFILES, mig=True, links=12, switched=True
)
GB200 = Model(
    "NVIDIA GB200", "2941", 14, 10, (10, 0), 189471,
    links=18, switched=True, module=True, addressing=2, fabric=_fabric(CLUSTER, 32766),
)  # fmt: skip
RTX = Model("NVIDIA GeForce RTX 4090", "2684", 5, 8, (8, 9), 24564, ecc=False)
BRIDGED = Model("NVIDIA A100 80GB PCIe", "20b5", 14, 7, (8, 0), 81920, links=12)


def uuid(index: int) -> str:
    return f"GPU-{index:08x}-1111-2222-3333-444444444444"


def bus_id(index: int) -> str:
    return f"0000:{0x1A + index:02x}:00.0"


class NvidiaMachine(Machine):
    """`count` GPUs of a model, two to a PCIe switch, four to a socket. Minors run backwards, as they may."""

    def __init__(self, root: Path, model: Model, count: int = 1) -> None:
        super().__init__(root)
        self.model = model
        self.count = count
        self.sockets(2)
        self.write(
            "/proc/devices", "Character devices:\n  1 mem\n195 nvidia\n509 nvidia-caps\n\nBlock devices:\n  8 sd\n"
        )
        for number, name in enumerate(("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")):
            self.device_node(f"/dev/{name}", 195, 255 - number)
        for index in range(count):
            root_bus = 0x10 + index // 2
            chain = f"pci0000:{root_bus:02x}/0000:{root_bus:02x}:01.0/0000:{0x60 + index // 2:02x}:00.0"
            folder = self.pci(
                f"{chain}/0000:{0x70 + index // 2:02x}:{index % 2:02x}.0/{bus_id(index)}",
                vendor="10de", device=model.pci_device, numa=index // 4, pci_class="0x030200", driver="nvidia",
            )  # fmt: skip
            self.device_node(f"/dev/nvidia{self.minor(index)}", 195, self.minor(index))
            for node in (f"card{index}", f"renderD{128 + index}"):
                self.write(f"{folder}/drm/{node}/dev", "226:0\n")

    def minor(self, index: int) -> int:
        return self.count - 1 - index

    def capability(self, minor: int, instance: int, compute: int | None, number: int) -> None:
        path = f"/proc/driver/nvidia/capabilities/gpu{minor}/mig/gi{instance}"
        path += "" if compute is None else f"/ci{compute}"
        self.write(f"{path}/access", f"DeviceFileMinor: {number}\nDeviceFileMode: 292\nDeviceFileModify: 1\n")

    def recording(self) -> Recording:
        answers: dict[str, Any] = {
            "driver_version": DRIVER,
            "cuda_driver_version": 13000,
            "device_count": self.count,
        }
        errors: dict[str, int] = {}
        for index in range(self.count):
            answers[key("uuid", index)] = uuid(index)
            self._gpu(answers, errors, index)
        return Recording(FORMAT, "made up by the tests", answers, errors)

    def replay(self) -> Replay:
        return Replay(self.recording())

    def _gpu(self, answers: dict[str, Any], errors: dict[str, int], index: int) -> None:
        model, gpu = self.model, uuid(index)
        values: dict[str, Any] = {
            "index": index,
            "minor": self.minor(index),
            "name": model.name,
            "brand": model.brand,
            "architecture": model.architecture,
            "compute_capability": list(model.capability),
            "memory_bytes": model.memory_mib << 20,
            "pci_bus_id": f"0000{bus_id(index).upper()}",
            "serial": f"16540230{index:05d}" if model.ecc else None,
            "module_id": index + 1 if model.module else None,
            "addressing_mode": model.addressing,
            "mig_mode": {"current": int(model.mig), "pending": int(model.mig)} if model.profiles else None,
            "mig_devices": [] if model.profiles else None,
            "fabric": model.fabric,
            "ecc_uncorrected": 0 if model.ecc else None,
            "remapped_rows": {"correctable": 0, "uncorrectable": 0, "pending": False, "failure": False}
            if model.ecc
            else None,
            "retired_pages_pending": None,
            "clock_reasons": 1,
            "recovery_action": 0 if model.architecture >= 9 else None,
            "supported_events": 0xA if model.ecc else 0x8,
        }
        for function, value in values.items():
            if value is None:
                errors[key(function, gpu)] = int(Code.NOT_SUPPORTED)
            else:
                answers[key(function, gpu)] = value
        for link in range(model.links):
            answers[key("link_active", gpu, link)] = 1
            answers[key("link_remote_type", gpu, link)] = 2 if model.switched else 0
            other = f"0000:a{link % 4}:00.0" if model.switched else bus_id(index ^ 1)
            answers[key("link_remote_bus_id", gpu, link)] = f"0000{other.upper()}"
        for number, profile_id, name, slices, instances, memory, engines, starts, size in model.profiles:
            names = ("multiprocessors", "copy_engines", "decoders", "encoders", "jpeg_engines", "ofa_engines")
            answers[key("instance_profile", gpu, number)] = {
                "id": profile_id, "slice_count": slices, "instance_count": instances, "memory_mib": memory,
                "name": name,
                **dict(zip(names, engines, strict=True)),
            }  # fmt: skip
            answers[key("placements", gpu, profile_id)] = [{"start": start, "size": size} for start in starts]
            answers[key("gpu_instances", gpu, profile_id)] = []


def with_mig(model: Model) -> Model:
    return replace(model, mig=True)
