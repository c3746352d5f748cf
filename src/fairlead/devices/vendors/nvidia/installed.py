"""NVML as it is installed on the machine, through pynvml (nvidia-ml-py).

The library that belongs to the running kernel driver may lie below another root than this process (a driver container,
the host's root mounted into a pod); pynvml only knows the loader's own folders, so the right one is loaded first.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from fairlead.devices.vendors.nvidia.nvml import Code, NvmlError

_GPUS_OPTIONAL = 1
"""NVML_INIT_FLAG_NO_GPUS: a machine whose GPUs are all given to virtual machines is no error."""
_FIELD_RECOVERY_ACTION = 230
_UNCORRECTED, _VOLATILE = 1, 0
_MAX_MIG_DEVICES = 16
_MAX_INSTANCES = 16
_COMPUTE_PROFILES = 9


class PynvmlLibrary:
    """Raises NvmlError from the start where NVML cannot be loaded or initialised. `path` is a libnvidia-ml.so.1 to use
    in place of the loader's."""

    def __init__(self, path: Path | None = None) -> None:
        import pynvml

        self._nvml: Any = pynvml
        self._lock = threading.Lock()
        self._handles: dict[str, Any] = {}
        self._events: Any = None
        self._functions: Mapping[str, Callable[..., Any]] = {
            name.removeprefix("_do_"): getattr(self, name) for name in dir(self) if name.startswith("_do_")
        }
        self._load(path)
        self._guard("init", lambda: pynvml.nvmlInitWithFlags(_GPUS_OPTIONAL))

    def call(self, function: str, *arguments: str | int) -> Any:
        return self._guard(function, lambda: self._functions[function](*arguments), *arguments)

    def close(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            self._guard("free_events", lambda: self._nvml.nvmlEventSetFree(events))
        self._guard("shutdown", self._nvml.nvmlShutdown)

    def _load(self, path: Path | None) -> None:
        with self._lock:
            if path is None or self._nvml.nvmlLib is not None:
                return
            try:
                self._nvml.nvmlLib = ctypes.CDLL(str(path))
            except OSError as error:
                raise NvmlError("load", Code.LIBRARY_NOT_FOUND, str(path)) from error

    def _guard(self, function: str, action: Callable[[], Any], *arguments: str | int) -> Any:
        try:
            return action()
        except self._nvml.NVMLError as error:
            subject = str(arguments[0]) if arguments and isinstance(arguments[0], str) else ""
            raise NvmlError(function, error.value, subject) from error

    def _handle(self, gpu: str) -> Any:
        """Kept, as looking one up attaches to every GPU and may take seconds."""
        with self._lock:
            if gpu not in self._handles:
                self._handles[gpu] = self._nvml.nvmlDeviceGetHandleByUUID(gpu)
            return self._handles[gpu]

    # The system.

    def _do_driver_version(self) -> str:
        return _text(self._nvml.nvmlSystemGetDriverVersion())

    def _do_cuda_driver_version(self) -> int:
        return int(self._nvml.nvmlSystemGetCudaDriverVersion_v2())

    def _do_device_count(self) -> int:
        return int(self._nvml.nvmlDeviceGetCount())

    def _do_uuid(self, index: int) -> str:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = _text(self._nvml.nvmlDeviceGetUUID(handle))
        with self._lock:
            self._handles[uuid] = handle
        return uuid

    # A GPU.

    def _do_index(self, gpu: str) -> int:
        return int(self._nvml.nvmlDeviceGetIndex(self._handle(gpu)))

    def _do_minor(self, gpu: str) -> int:
        return int(self._nvml.nvmlDeviceGetMinorNumber(self._handle(gpu)))

    def _do_name(self, gpu: str) -> str:
        return _text(self._nvml.nvmlDeviceGetName(self._handle(gpu)))

    def _do_brand(self, gpu: str) -> int:
        return int(self._nvml.nvmlDeviceGetBrand(self._handle(gpu)))

    def _do_architecture(self, gpu: str) -> int:
        return int(self._nvml.nvmlDeviceGetArchitecture(self._handle(gpu)))

    def _do_compute_capability(self, gpu: str) -> list[int]:
        return [int(part) for part in self._nvml.nvmlDeviceGetCudaComputeCapability(self._handle(gpu))]

    def _do_memory_bytes(self, gpu: str) -> int:
        return int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle(gpu)).total)

    def _do_pci_bus_id(self, gpu: str) -> str:
        return _text(self._nvml.nvmlDeviceGetPciInfo_v3(self._handle(gpu)).busId)

    def _do_serial(self, gpu: str) -> str:
        return _text(self._nvml.nvmlDeviceGetSerial(self._handle(gpu)))

    def _do_module_id(self, gpu: str) -> int:
        return int(self._nvml.nvmlDeviceGetModuleId(self._handle(gpu)))

    def _do_addressing_mode(self, gpu: str) -> int:
        return int(self._nvml.nvmlDeviceGetAddressingMode(self._handle(gpu)))

    def _do_set_compute_mode(self, gpu: str, mode: int) -> None:
        self._nvml.nvmlDeviceSetComputeMode(self._handle(gpu), mode)

    # MIG.

    def _do_mig_mode(self, gpu: str) -> dict[str, int]:
        current, pending = self._nvml.nvmlDeviceGetMigMode(self._handle(gpu))
        return {"current": current, "pending": pending}

    def _do_set_mig_mode(self, gpu: str, enabled: int) -> int:
        return int(self._nvml.nvmlDeviceSetMigMode(self._handle(gpu), enabled))

    def _do_instance_profile(self, gpu: str, profile: int) -> dict[str, Any]:
        handle = self._handle(gpu)
        try:
            info = self._nvml.nvmlDeviceGetGpuInstanceProfileInfo(handle, profile, version=2)
        except self._nvml.NVMLError as error:
            if error.value not in (Code.FUNCTION_NOT_FOUND, Code.ARGUMENT_VERSION_MISMATCH):
                raise
            info = self._nvml.nvmlDeviceGetGpuInstanceProfileInfo(handle, profile, version=1)
        return {
            "id": info.id,
            "slice_count": info.sliceCount,
            "instance_count": info.instanceCount,
            "multiprocessors": info.multiprocessorCount,
            "copy_engines": info.copyEngineCount,
            "decoders": info.decoderCount,
            "encoders": info.encoderCount,
            "jpeg_engines": info.jpegCount,
            "ofa_engines": info.ofaCount,
            "memory_mib": info.memorySizeMB,
            "name": _text(getattr(info, "name", "")),
        }

    def _do_placements(self, gpu: str, profile_id: int) -> list[dict[str, int]]:
        handle, count = self._handle(gpu), ctypes.c_uint(0)
        possible = self._nvml.nvmlDeviceGetGpuInstancePossiblePlacements
        possible(handle, profile_id, None, ctypes.byref(count))
        found = (self._nvml.c_nvmlGpuInstancePlacement_t * max(count.value, 1))()
        possible(handle, profile_id, found, ctypes.byref(count))
        return [{"start": span.start, "size": span.size} for span in found[: count.value]]

    def _do_gpu_instances(self, gpu: str, profile_id: int) -> list[dict[str, int]]:
        found, count = (self._nvml.c_nvmlGpuInstance_t * _MAX_INSTANCES)(), ctypes.c_uint(0)
        self._nvml.nvmlDeviceGetGpuInstances(self._handle(gpu), profile_id, found, ctypes.byref(count))
        return [self._gpu_instance(instance) for instance in found[: count.value]]

    def _do_create_gpu_instance(self, gpu: str, profile_id: int, start: int, size: int) -> dict[str, int]:
        span = self._nvml.c_nvmlGpuInstancePlacement_t(start, size)
        create = self._nvml.nvmlDeviceCreateGpuInstanceWithPlacement
        return self._gpu_instance(create(self._handle(gpu), profile_id, ctypes.byref(span)))

    def _do_destroy_gpu_instance(self, gpu: str, instance: int) -> None:
        self._nvml.nvmlGpuInstanceDestroy(self._instance(gpu, instance))

    def _do_compute_profile(self, gpu: str, instance: int, profile: int) -> dict[str, int]:
        info = self._nvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(self._instance(gpu, instance), profile, 0, 1)
        return {"id": info.id, "slice_count": info.sliceCount}

    def _do_compute_instances(self, gpu: str, instance: int) -> list[dict[str, Any]]:
        return [self._compute_instance(found) for found in self._compute_handles(gpu, instance)]

    def _do_create_compute_instance(self, gpu: str, instance: int, profile_id: int) -> dict[str, Any]:
        create = self._nvml.nvmlGpuInstanceCreateComputeInstance
        return self._compute_instance(create(self._instance(gpu, instance), profile_id))

    def _do_destroy_compute_instance(self, gpu: str, instance: int, compute_instance: int) -> None:
        get = self._nvml.nvmlGpuInstanceGetComputeInstanceById
        self._nvml.nvmlComputeInstanceDestroy(get(self._instance(gpu, instance), compute_instance))

    def _do_mig_devices(self, gpu: str) -> list[dict[str, Any]]:
        handle = self._handle(gpu)
        devices: list[dict[str, Any]] = []
        for index in range(min(int(self._nvml.nvmlDeviceGetMaxMigDeviceCount(handle)), _MAX_MIG_DEVICES)):
            try:
                found = self._nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            except self._nvml.NVMLError as error:
                if error.value in (Code.NOT_FOUND, Code.INVALID_ARGUMENT):
                    continue
                raise
            devices.append(
                {
                    "uuid": _text(self._nvml.nvmlDeviceGetUUID(found)),
                    "gpu_instance": int(self._nvml.nvmlDeviceGetGpuInstanceId(found)),
                    "compute_instance": int(self._nvml.nvmlDeviceGetComputeInstanceId(found)),
                }
            )
        return devices

    def _instance(self, gpu: str, instance: int) -> Any:
        return self._nvml.nvmlDeviceGetGpuInstanceById(self._handle(gpu), instance)

    def _gpu_instance(self, instance: Any) -> dict[str, int]:
        info = self._nvml.nvmlGpuInstanceGetInfo(instance)
        place = info.placement
        return {"id": info.id, "profile_id": info.profileId, "start": place.start, "size": place.size}

    def _compute_handles(self, gpu: str, instance: int) -> list[Any]:
        owner, handles = self._instance(gpu, instance), []
        for profile in range(_COMPUTE_PROFILES):
            try:
                info = self._nvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(owner, profile, 0, 1)
            except self._nvml.NVMLError as error:
                if error.value in (Code.NOT_SUPPORTED, Code.INVALID_ARGUMENT):
                    continue
                raise
            found, count = (self._nvml.c_nvmlComputeInstance_t * _MAX_INSTANCES)(), ctypes.c_uint(0)
            self._nvml.nvmlGpuInstanceGetComputeInstances(owner, info.id, found, ctypes.byref(count))
            handles += found[: count.value]
        return handles

    def _compute_instance(self, instance: Any) -> dict[str, Any]:
        info = self._nvml.nvmlComputeInstanceGetInfo_v2(instance)
        uuid = _text(self._nvml.nvmlDeviceGetUUID(info.device))
        return {"id": info.id, "profile_id": info.profileId, "uuid": uuid}

    # NVLink.

    def _do_link_active(self, gpu: str, link: int) -> int:
        return int(self._nvml.nvmlDeviceGetNvLinkState(self._handle(gpu), link))

    def _do_link_remote_type(self, gpu: str, link: int) -> int:
        return int(self._nvml.nvmlDeviceGetNvLinkRemoteDeviceType(self._handle(gpu), link))

    def _do_link_remote_bus_id(self, gpu: str, link: int) -> str:
        return _text(self._nvml.nvmlDeviceGetNvLinkRemotePciInfo(self._handle(gpu), link).busId)

    def _do_fabric(self, gpu: str) -> dict[str, Any]:
        info = self._nvml.c_nvmlGpuFabricInfo_v2_t()
        self._nvml.nvmlDeviceGetGpuFabricInfoV(self._handle(gpu), ctypes.byref(info))
        return {
            "cluster_uuid": str(UUID(bytes=bytes(info.clusterUuid))),
            "clique_id": info.cliqueId,
            "state": info.state,
            "status": info.status,
            "health_mask": info.healthMask,
        }

    # Health.

    def _do_ecc_uncorrected(self, gpu: str) -> int:
        return int(self._nvml.nvmlDeviceGetTotalEccErrors(self._handle(gpu), _UNCORRECTED, _VOLATILE))

    def _do_remapped_rows(self, gpu: str) -> dict[str, Any]:
        correctable, uncorrectable, pending, failure = self._nvml.nvmlDeviceGetRemappedRows(self._handle(gpu))
        rows = {"correctable": correctable, "uncorrectable": uncorrectable}
        return {**rows, "pending": bool(pending), "failure": bool(failure)}

    def _do_retired_pages_pending(self, gpu: str) -> int:
        return int(self._nvml.nvmlDeviceGetRetiredPagesPendingStatus(self._handle(gpu)))

    def _do_clock_reasons(self, gpu: str) -> int:
        return int(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle(gpu)))

    def _do_recovery_action(self, gpu: str) -> int:
        (value,) = self._nvml.nvmlDeviceGetFieldValues(self._handle(gpu), [_FIELD_RECOVERY_ACTION])
        if value.nvmlReturn != Code.SUCCESS:
            raise NvmlError("recovery_action", value.nvmlReturn, gpu)
        return int(value.value.uiVal)

    # Events.

    def _do_supported_events(self, gpu: str) -> int:
        return int(self._nvml.nvmlDeviceGetSupportedEventTypes(self._handle(gpu)))

    def _do_register_events(self, gpu: str, types: int) -> None:
        self._nvml.nvmlDeviceRegisterEvents(self._handle(gpu), types, self._event_set())

    def _do_wait_event(self, timeout_ms: int) -> dict[str, Any]:
        event = self._nvml.nvmlEventSetWait_v2(self._event_set(), timeout_ms)
        return {
            "uuid": _text(self._nvml.nvmlDeviceGetUUID(event.device)),
            "type": event.eventType,
            "data": event.eventData,
            "gpu_instance": event.gpuInstanceId,
            "compute_instance": event.computeInstanceId,
        }

    def _event_set(self) -> Any:
        with self._lock:
            if self._events is None:
                self._events = self._nvml.nvmlEventSetCreate()
            return self._events


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
