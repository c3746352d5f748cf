"""What NVML answered on one machine, kept as JSON, and a library that answers the same anywhere.

A recording holds each call's answer or error by function and arguments ("link_active GPU-… 3"). Replayed, calls that
only read answer as recorded; those that change something (MIG mode and instances, compute mode) change the replayed
machine by NVML's rules: an instance needs its memory slices free and its profile's count not used up, one with
compute instances cannot be destroyed. Faults are caused on it: a GPU is lost, a call fails, an event comes.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from fairlead.devices.errors import ProbeError
from fairlead.devices.vendors.nvidia.nvml import COMPUTE_PROFILES, MAX_LINKS, PROFILE_COUNT, Code, Library, NvmlError

FORMAT = 1
_SYSTEM = ("driver_version", "cuda_driver_version", "device_count")
_READS = (
    *("index", "minor", "name", "brand", "architecture", "compute_capability", "memory_bytes", "pci_bus_id", "serial"),
    *("module_id", "addressing_mode", "mig_mode", "mig_devices", "fabric", "ecc_uncorrected", "remapped_rows"),
    *("retired_pages_pending", "clock_reasons", "recovery_action", "supported_events"),
)
_LINK_READS = ("link_active", "link_remote_type", "link_remote_bus_id")


class Recording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`answers` and `errors` (NVML codes): call -> what came back. `source` says of which machine, for people."""

    format: int
    source: str
    answers: Mapping[str, Any]
    errors: Mapping[str, int]


def key(function: str, *arguments: str | int) -> str:
    return " ".join([function, *map(str, arguments)])


def write_recording(recording: Recording, path: Path) -> None:
    """Whole or not at all. Raises OSError."""
    document = json.dumps(msgspec.to_builtins(recording), indent=1, sort_keys=True) + "\n"
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(document)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_recording(path: Path) -> Recording:
    """Raises ProbeError for a file that is not there, is damaged, or is of another format."""
    try:
        recording = msgspec.json.decode(path.read_bytes(), type=Recording)
    except OSError as error:
        raise ProbeError(f"{path}: recording cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProbeError(f"{path}: not a recording of NVML: {error}; make one with the record command") from error
    if recording.format != FORMAT:
        raise ProbeError(f"{path}: recording has format {recording.format}, this version reads {FORMAT}; record again")
    return recording


class Recorder:
    """A library that passes calls on and keeps what came back."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._answers: dict[str, Any] = {}
        self._errors: dict[str, int] = {}

    def call(self, function: str, *arguments: str | int) -> Any:
        try:
            answer = self._library.call(function, *arguments)
        except NvmlError as error:
            self._errors[key(function, *arguments)] = int(error.code)
            raise
        self._answers[key(function, *arguments)] = answer
        return answer

    def close(self) -> None:
        self._library.close()

    def recording(self, source: str) -> Recording:
        return Recording(FORMAT, source, dict(self._answers), dict(self._errors))


def record(library: Library, source: str) -> Recording:
    """Every reading call on every GPU; calls that change anything are not made."""
    recorder = Recorder(library)
    for function in _SYSTEM:
        _try(recorder, function)
    for index in range(_try(recorder, "device_count") or 0):
        gpu = _try(recorder, "uuid", index)
        if gpu is not None:
            _record_gpu(recorder, gpu)
    return recorder.recording(source)


def _record_gpu(recorder: Recorder, gpu: str) -> None:
    for function in _READS:
        _try(recorder, function, gpu)
    for link in range(MAX_LINKS):
        for function in _LINK_READS:
            _try(recorder, function, gpu, link)
    for profile in range(PROFILE_COUNT):
        info = _try(recorder, "instance_profile", gpu, profile)
        if info is None:
            continue
        _try(recorder, "placements", gpu, info["id"])
        for instance in _try(recorder, "gpu_instances", gpu, info["id"]) or ():
            _try(recorder, "compute_instances", gpu, instance["id"])
            for compute_profile in COMPUTE_PROFILES.values():
                _try(recorder, "compute_profile", gpu, instance["id"], compute_profile)


def _try(recorder: Recorder, function: str, *arguments: str | int) -> Any:
    try:
        return recorder.call(function, *arguments)
    except NvmlError:
        return None


class Replay:
    """A recorded machine. Thread-safe, as the real library is."""

    def __init__(self, recording: Recording) -> None:
        self._answers: dict[str, Any] = dict(recording.answers)
        self._errors: dict[str, int] = dict(recording.errors)
        self._lost: set[str] = set()
        self._lock = threading.RLock()
        self._events: queue.Queue[Mapping[str, Any]] = queue.Queue()
        self._created = 0
        self.changes: list[str] = []
        """Changing calls that succeeded, in order."""

    def close(self) -> None:
        """Nothing is held."""

    def call(self, function: str, *arguments: str | int) -> Any:
        if function == "wait_event":
            return self._wait(int(arguments[0]))
        with self._lock:
            called = key(function, *arguments)
            gpu = str(arguments[0]) if arguments and isinstance(arguments[0], str) else ""
            if gpu in self._lost or (function == "uuid" and self._answers.get(called) in self._lost):
                raise NvmlError(function, Code.GPU_IS_LOST, gpu)
            if called in self._errors:
                raise NvmlError(function, self._errors[called], gpu)
            if function in _CHANGES:
                answer = _CHANGES[function](self, *arguments)
                self.changes.append(called)
                return answer
            if called in self._answers:
                return self._answers[called]
        raise NvmlError(function, Code.NOT_SUPPORTED if gpu else Code.UNKNOWN, gpu)

    # Faults.

    def lose(self, gpu: str) -> None:
        """The GPU falls off the bus: all calls about it answer GPU_IS_LOST."""
        with self._lock:
            self._lost.add(gpu)

    def restore(self, gpu: str) -> None:
        with self._lock:
            self._lost.discard(gpu)

    def fail(self, code: Code, function: str, *arguments: str | int) -> None:
        """That call fails from now on; SUCCESS heals it."""
        with self._lock:
            self._errors[key(function, *arguments)] = int(code)
            if code == Code.SUCCESS:
                del self._errors[key(function, *arguments)]

    def answer(self, value: Any, function: str, *arguments: str | int) -> None:
        """That call answers so from now on."""
        with self._lock:
            self._errors.pop(key(function, *arguments), None)
            self._answers[key(function, *arguments)] = value

    def emit(self, event: Mapping[str, Any]) -> None:
        """An event as `wait_event` answers it."""
        self._events.put(event)

    def _wait(self, timeout_ms: int) -> Mapping[str, Any]:
        try:
            return self._events.get(timeout=timeout_ms / 1000)
        except queue.Empty:
            raise NvmlError("wait_event", Code.TIMEOUT) from None

    # Changes.

    def _set_mig_mode(self, gpu: str, enabled: int) -> int:
        if enabled == 0 and self._instances(gpu):
            raise NvmlError("set_mig_mode", Code.IN_USE, gpu)
        mode = self._need("mig_mode", gpu)
        toggles = self._need("architecture", gpu) >= _HOPPER
        self._answers[key("mig_mode", gpu)] = {"current": enabled if toggles else mode["current"], "pending": enabled}
        return int(Code.SUCCESS if toggles or mode["current"] == enabled else Code.RESET_REQUIRED)

    def _set_compute_mode(self, gpu: str, mode: int) -> None:
        """Kept for whoever reads `changes`."""

    def _create_gpu_instance(self, gpu: str, profile_id: int, start: int, size: int) -> Mapping[str, int]:
        if self._need("mig_mode", gpu)["current"] != 1:
            raise NvmlError("create_gpu_instance", Code.NOT_SUPPORTED, gpu)
        if {"start": start, "size": size} not in self._need("placements", gpu, profile_id):
            raise NvmlError("create_gpu_instance", Code.INVALID_ARGUMENT, gpu)
        there = self._instances(gpu)
        blocked = any(other["start"] < start + size and start < other["start"] + other["size"] for other in there)
        alike = sum(other["profile_id"] == profile_id for other in there)
        if blocked or alike >= self._profile(gpu, profile_id)["instance_count"]:
            raise NvmlError("create_gpu_instance", Code.INSUFFICIENT_RESOURCES, gpu)
        used = {instance["id"] for instance in there}
        new = {
            "id": next(number for number in range(1, 64) if number not in used),
            "profile_id": profile_id,
            "start": start,
            "size": size,
        }
        self._answers[key("gpu_instances", gpu, profile_id)] = [*self._of_profile(gpu, profile_id), new]
        self._answers[key("compute_instances", gpu, new["id"])] = []
        slices = self._profile(gpu, profile_id)["slice_count"]
        full = COMPUTE_PROFILES[slices]
        self._answers[key("compute_profile", gpu, new["id"], full)] = {"id": full, "slice_count": slices}
        return new

    def _destroy_gpu_instance(self, gpu: str, instance: int) -> None:
        found = next((one for one in self._instances(gpu) if one["id"] == instance), None)
        if found is None:
            raise NvmlError("destroy_gpu_instance", Code.NOT_FOUND, gpu)
        if self._answers.get(key("compute_instances", gpu, instance)):
            raise NvmlError("destroy_gpu_instance", Code.IN_USE, gpu)
        profile_id = found["profile_id"]
        left = [one for one in self._of_profile(gpu, profile_id) if one["id"] != instance]
        self._answers[key("gpu_instances", gpu, profile_id)] = left

    def _create_compute_instance(self, gpu: str, instance: int, profile_id: int) -> Mapping[str, Any]:
        if all(one["id"] != instance for one in self._instances(gpu)):
            raise NvmlError("create_compute_instance", Code.NOT_FOUND, gpu)
        there = self._answers.get(key("compute_instances", gpu, instance), [])
        if there:
            raise NvmlError("create_compute_instance", Code.INSUFFICIENT_RESOURCES, gpu)
        # A new UUID each time, as on the real machine.
        self._created += 1
        digest = hashlib.sha256(f"{gpu}/{instance}/{self._created}".encode()).digest()
        new = {"id": 0, "profile_id": profile_id, "uuid": f"MIG-{UUID(bytes=digest[:16])}"}
        self._answers[key("compute_instances", gpu, instance)] = [new]
        handle = {"uuid": new["uuid"], "gpu_instance": instance, "compute_instance": 0}
        self._answers[key("mig_devices", gpu)] = [*self._answers.get(key("mig_devices", gpu), []), handle]
        return new

    def _destroy_compute_instance(self, gpu: str, instance: int, compute_instance: int) -> None:
        there = self._answers.get(key("compute_instances", gpu, instance), [])
        left = [one for one in there if one["id"] != compute_instance]
        if len(left) == len(there):
            raise NvmlError("destroy_compute_instance", Code.NOT_FOUND, gpu)
        self._answers[key("compute_instances", gpu, instance)] = left
        gone = (instance, compute_instance)
        devices = self._answers.get(key("mig_devices", gpu), [])
        kept = [one for one in devices if (one["gpu_instance"], one["compute_instance"]) != gone]
        self._answers[key("mig_devices", gpu)] = kept

    def _register_events(self, gpu: str, types: int) -> None:
        if types & ~self._need("supported_events", gpu):
            raise NvmlError("register_events", Code.NOT_SUPPORTED, gpu)

    def _need(self, function: str, *arguments: str | int) -> Any:
        called = key(function, *arguments)
        if called in self._errors:
            raise NvmlError(function, self._errors[called], str(arguments[0]))
        if called not in self._answers:
            raise NvmlError(function, Code.NOT_SUPPORTED, str(arguments[0]))
        return self._answers[called]

    def _profiles(self, gpu: str) -> Iterable[Mapping[str, Any]]:
        found = (self._answers.get(key("instance_profile", gpu, profile)) for profile in range(PROFILE_COUNT))
        return [profile for profile in found if profile is not None]

    def _profile(self, gpu: str, profile_id: int) -> Mapping[str, Any]:
        return next(profile for profile in self._profiles(gpu) if profile["id"] == profile_id)

    def _of_profile(self, gpu: str, profile_id: int) -> list[Mapping[str, Any]]:
        return list(self._answers.get(key("gpu_instances", gpu, profile_id), []))

    def _instances(self, gpu: str) -> list[Mapping[str, Any]]:
        return [one for profile in self._profiles(gpu) for one in self._of_profile(gpu, profile["id"])]


_HOPPER = 9
_CHANGES: Mapping[str, Any] = {
    "set_mig_mode": Replay._set_mig_mode,
    "set_compute_mode": Replay._set_compute_mode,
    "create_gpu_instance": Replay._create_gpu_instance,
    "destroy_gpu_instance": Replay._destroy_gpu_instance,
    "create_compute_instance": Replay._create_compute_instance,
    "destroy_compute_instance": Replay._destroy_compute_instance,
    "register_events": Replay._register_events,
}
