"""The calls to NVML that Fairlead uses, typed, over a seam narrow enough to record and replay.

`Nvml` turns each call into a function's name and plain arguments for a `Library`, and its plain answer into a struct.
The library is the installed one (`installed.PynvmlLibrary`) or what another machine once answered (`recording`). A
device is named by its UUID, not by NVML's handle or index: an index moves when a GPU drops, a handle means nothing
elsewhere.

Names, units and codes are those of nvml.h.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum, IntFlag
from typing import Any, ParamSpec, Protocol, TypeVar

import msgspec

from fairlead.devices.errors import DeviceError

MAX_LINKS = 36
PROFILE_COUNT = 18
"""NVML_NVLINK_MAX_LINKS, NVML_GPU_INSTANCE_PROFILE_COUNT of NVML 13; what an older library knows not, it refuses."""
COMPUTE_PROFILES = {1: 0, 2: 1, 3: 2, 4: 3, 7: 4, 8: 5, 6: 6}
"""Slices -> NVML_COMPUTE_INSTANCE_PROFILE_…: the compute instance that fills a GPU instance of so many slices."""
WHOLE_GPU = 0xFFFFFFFF
"""Instance id of an event that concerns no MIG instance."""


class Code(IntEnum):
    """NVML's return codes."""

    SUCCESS = 0
    UNINITIALIZED = 1
    INVALID_ARGUMENT = 2
    NOT_SUPPORTED = 3
    NO_PERMISSION = 4
    ALREADY_INITIALIZED = 5
    NOT_FOUND = 6
    INSUFFICIENT_SIZE = 7
    INSUFFICIENT_POWER = 8
    DRIVER_NOT_LOADED = 9
    TIMEOUT = 10
    IRQ_ISSUE = 11
    LIBRARY_NOT_FOUND = 12
    FUNCTION_NOT_FOUND = 13
    CORRUPTED_INFOROM = 14
    GPU_IS_LOST = 15
    RESET_REQUIRED = 16
    OPERATING_SYSTEM = 17
    LIB_RM_VERSION_MISMATCH = 18
    IN_USE = 19
    MEMORY = 20
    NO_DATA = 21
    VGPU_ECC_NOT_SUPPORTED = 22
    INSUFFICIENT_RESOURCES = 23
    FREQ_NOT_SUPPORTED = 24
    ARGUMENT_VERSION_MISMATCH = 25
    DEPRECATED = 26
    NOT_READY = 27
    GPU_NOT_FOUND = 28
    INVALID_STATE = 29
    RESET_TYPE_NOT_SUPPORTED = 30
    UNKNOWN = 999

    @classmethod
    def _missing_(cls, value: object) -> Code:
        return cls.UNKNOWN


ABSENT = (Code.NOT_SUPPORTED, Code.FUNCTION_NOT_FOUND, Code.ARGUMENT_VERSION_MISMATCH, Code.INVALID_ARGUMENT)
"""The model, or the installed library, does not have what was asked for."""
GONE = (Code.GPU_IS_LOST, Code.NOT_FOUND, Code.GPU_NOT_FOUND)


class NvmlError(DeviceError):
    """A call was refused. `function` and `subject` (a UUID, or "") say which."""

    def __init__(self, function: str, code: int, subject: str = "") -> None:
        self.function = function
        self.code = Code(code)
        self.subject = subject
        of = f" of {subject}" if subject else ""
        super().__init__(f"NVML: {function}{of} answered {self.code.name} ({int(code)})")


class EventType(IntFlag):
    """nvmlEventType…, those that are listened to."""

    SINGLE_BIT_ECC = 0x1
    DOUBLE_BIT_ECC = 0x2
    XID = 0x8
    MIG_CONFIG_CHANGE = 0x100


class ClockReason(IntFlag):
    """nvmlClocksEventReason…: why a GPU runs slower than it could."""

    IDLE = 0x1
    APPLICATION_CLOCKS = 0x2
    SOFTWARE_POWER_CAP = 0x4
    HARDWARE_SLOWDOWN = 0x8
    SYNC_BOOST = 0x10
    SOFTWARE_THERMAL = 0x20
    HARDWARE_THERMAL = 0x40
    HARDWARE_POWER_BRAKE = 0x80
    DISPLAY_CLOCKS = 0x100


class ComputeMode(IntEnum):
    DEFAULT = 0
    PROHIBITED = 2
    EXCLUSIVE_PROCESS = 3


class RecoveryAction(IntEnum):
    """nvmlDeviceGpuRecoveryAction: what brings a broken GPU back."""

    NONE = 0
    GPU_RESET = 1
    NODE_REBOOT = 2
    DRAIN_P2P = 3
    DRAIN_AND_RESET = 4
    RECOVER_IMEX_DOMAIN = 5
    BUS_RESET = 6
    SYSTEM_REBOOT = 7

    @classmethod
    def _missing_(cls, value: object) -> RecoveryAction:
        return cls.GPU_RESET


class _Answer(msgspec.Struct, frozen=True):
    """What the library answered; a newer recording may have more fields."""


class MigMode(_Answer, frozen=True):
    """0 or 1 each; they differ where a reset is due."""

    current: int
    pending: int


class InstanceProfile(_Answer, frozen=True):
    """nvmlGpuInstanceProfileInfo. `name` such as "MIG 1g.10gb", empty from libraries older than 520."""

    id: int
    slice_count: int
    instance_count: int
    multiprocessors: int
    copy_engines: int
    decoders: int
    encoders: int
    jpeg_engines: int
    ofa_engines: int
    memory_mib: int
    name: str = ""


class Span(_Answer, frozen=True):
    """A placement: memory slices for a GPU instance."""

    start: int
    size: int


class GpuInstance(_Answer, frozen=True):
    id: int
    profile_id: int
    start: int
    size: int


class ComputeInstance(_Answer, frozen=True):
    """`uuid` is the MIG device's that it stands for."""

    id: int
    profile_id: int
    uuid: str


class ComputeProfile(_Answer, frozen=True):
    id: int
    slice_count: int


class MigHandle(_Answer, frozen=True):
    """A MIG device: its UUID and the ids of its instances."""

    uuid: str
    gpu_instance: int
    compute_instance: int


class FabricInfo(_Answer, frozen=True):
    """`cluster_uuid` in hexadecimal with dashes; all zeroes outside a multi-node fabric."""

    cluster_uuid: str
    clique_id: int
    state: int
    status: int
    health_mask: int = 0


class RemappedRows(_Answer, frozen=True):
    correctable: int
    uncorrectable: int
    pending: bool
    failure: bool


class Event(_Answer, frozen=True):
    """`data` is the number of an XID. Instances are WHOLE_GPU where the event is of no MIG device."""

    uuid: str
    type: int
    data: int
    gpu_instance: int = WHOLE_GPU
    compute_instance: int = WHOLE_GPU


class Library(Protocol):
    """Where answers come from. Raises NvmlError; answers are of JSON's types. May be called from any thread."""

    def call(self, function: str, *arguments: str | int) -> Any: ...

    def close(self) -> None: ...


_P = ParamSpec("_P")
_T = TypeVar("_T")


def known(read: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T | None:
    """What a call answers, None where the model or the installed driver does not have it. Other errors pass (a lost
    GPU)."""
    try:
        return read(*arguments, **named)
    except NvmlError as error:
        if error.code in (*ABSENT, Code.NO_DATA, Code.NO_PERMISSION):
            return None
        raise


class Nvml:
    """Typed calls. Every one raises NvmlError."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def close(self) -> None:
        self._library.close()

    def _ask(self, kind: type[_T], function: str, *arguments: str | int) -> _T:
        answer = self._library.call(function, *arguments)
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise DeviceError(f"NVML: {function}{arguments}: answer is not understood: {error}") from error

    # The system.

    def driver_version(self) -> str:
        return self._ask(str, "driver_version")

    def cuda_driver_version(self) -> int:
        """1000 * major + 10 * minor."""
        return self._ask(int, "cuda_driver_version")

    def device_count(self) -> int:
        return self._ask(int, "device_count")

    def uuid(self, index: int) -> str:
        return self._ask(str, "uuid", index)

    # A GPU, by UUID.

    def index(self, gpu: str) -> int:
        return self._ask(int, "index", gpu)

    def minor(self, gpu: str) -> int:
        return self._ask(int, "minor", gpu)

    def name(self, gpu: str) -> str:
        return self._ask(str, "name", gpu)

    def brand(self, gpu: str) -> int:
        return self._ask(int, "brand", gpu)

    def architecture(self, gpu: str) -> int:
        return self._ask(int, "architecture", gpu)

    def compute_capability(self, gpu: str) -> tuple[int, int]:
        return self._ask(tuple[int, int], "compute_capability", gpu)

    def memory_bytes(self, gpu: str) -> int:
        return self._ask(int, "memory_bytes", gpu)

    def pci_bus_id(self, gpu: str) -> str:
        """ "00000000:1B:00.0"."""
        return self._ask(str, "pci_bus_id", gpu)

    def serial(self, gpu: str) -> str:
        return self._ask(str, "serial", gpu)

    def module_id(self, gpu: str) -> int:
        return self._ask(int, "module_id", gpu)

    def addressing_mode(self, gpu: str) -> int:
        """0 none, 1 HMM, 2 ATS."""
        return self._ask(int, "addressing_mode", gpu)

    def set_compute_mode(self, gpu: str, mode: ComputeMode) -> None:
        self._ask(type(None), "set_compute_mode", gpu, int(mode))

    # MIG.

    def mig_mode(self, gpu: str) -> MigMode:
        return self._ask(MigMode, "mig_mode", gpu)

    def set_mig_mode(self, gpu: str, enabled: bool) -> Code:
        """The activation's own status: SUCCESS, IN_USE, RESET_REQUIRED…"""
        return Code(self._ask(int, "set_mig_mode", gpu, int(enabled)))

    def instance_profile(self, gpu: str, profile: int) -> InstanceProfile:
        """`profile` counts 0 to PROFILE_COUNT - 1 and is not the profile's id."""
        return self._ask(InstanceProfile, "instance_profile", gpu, profile)

    def placements(self, gpu: str, profile_id: int) -> Sequence[Span]:
        return self._ask(list[Span], "placements", gpu, profile_id)

    def gpu_instances(self, gpu: str, profile_id: int) -> Sequence[GpuInstance]:
        return self._ask(list[GpuInstance], "gpu_instances", gpu, profile_id)

    def create_gpu_instance(self, gpu: str, profile_id: int, start: int, size: int) -> GpuInstance:
        return self._ask(GpuInstance, "create_gpu_instance", gpu, profile_id, start, size)

    def destroy_gpu_instance(self, gpu: str, instance: int) -> None:
        self._ask(type(None), "destroy_gpu_instance", gpu, instance)

    def compute_profile(self, gpu: str, instance: int, profile: int) -> ComputeProfile:
        """`profile` is one of COMPUTE_PROFILES' values."""
        return self._ask(ComputeProfile, "compute_profile", gpu, instance, profile)

    def compute_instances(self, gpu: str, instance: int) -> Sequence[ComputeInstance]:
        """All compute instances of a GPU instance."""
        return self._ask(list[ComputeInstance], "compute_instances", gpu, instance)

    def create_compute_instance(self, gpu: str, instance: int, profile_id: int) -> ComputeInstance:
        return self._ask(ComputeInstance, "create_compute_instance", gpu, instance, profile_id)

    def destroy_compute_instance(self, gpu: str, instance: int, compute_instance: int) -> None:
        self._ask(type(None), "destroy_compute_instance", gpu, instance, compute_instance)

    def mig_devices(self, gpu: str) -> Sequence[MigHandle]:
        return self._ask(list[MigHandle], "mig_devices", gpu)

    # NVLink and its fabric.

    def link_active(self, gpu: str, link: int) -> bool:
        return bool(self._ask(int, "link_active", gpu, link))

    def link_remote_type(self, gpu: str, link: int) -> int:
        """0 GPU, 1 CPU, 2 switch, 255 unknown."""
        return self._ask(int, "link_remote_type", gpu, link)

    def link_remote_bus_id(self, gpu: str, link: int) -> str:
        return self._ask(str, "link_remote_bus_id", gpu, link)

    def fabric(self, gpu: str) -> FabricInfo:
        return self._ask(FabricInfo, "fabric", gpu)

    # Health.

    def ecc_uncorrected(self, gpu: str) -> int:
        """Uncorrected errors since the driver was loaded."""
        return self._ask(int, "ecc_uncorrected", gpu)

    def remapped_rows(self, gpu: str) -> RemappedRows:
        return self._ask(RemappedRows, "remapped_rows", gpu)

    def retired_pages_pending(self, gpu: str) -> bool:
        return bool(self._ask(int, "retired_pages_pending", gpu))

    def clock_reasons(self, gpu: str) -> ClockReason:
        return ClockReason(self._ask(int, "clock_reasons", gpu))

    def recovery_action(self, gpu: str) -> RecoveryAction:
        return RecoveryAction(self._ask(int, "recovery_action", gpu))

    # Events. A library has one set for all GPUs.

    def supported_events(self, gpu: str) -> int:
        return self._ask(int, "supported_events", gpu)

    def register_events(self, gpu: str, types: int) -> None:
        self._ask(type(None), "register_events", gpu, types)

    def wait_event(self, timeout_ms: int) -> Event | None:
        """The next event; None where none came in time."""
        try:
            return self._ask(Event, "wait_event", timeout_ms)
        except NvmlError as error:
            if error.code == Code.TIMEOUT:
                return None
            raise
