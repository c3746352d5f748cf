"""How the processes of a claim, or of several claims, share GPUs: what was set for whom, so that it can be undone.

Each claim's settings are written down before they are made (one file a claim), so that after a crash giving the claim
back undoes them all. A setting that another claim still needs stays.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.cdi.spec import ContainerEdits
from fairlead.devices.errors import ClaimError, ConfigError
from fairlead.devices.vendor import ClaimReference
from fairlead.devices.vendors.nvidia.config import (
    INTERVALS,
    GpuConfig,
    GpuSharing,
    MigDeviceConfig,
    MpsConfig,
    TimeSlicingConfig,
    pinned_limits,
)
from fairlead.devices.vendors.nvidia.mps import MpsDaemons, MpsSettings
from fairlead.devices.vendors.nvidia.nvml import GONE, ComputeMode, Nvml, NvmlError
from fairlead.devices.vendors.nvidia.smi import NvidiaSmi
from fairlead.kube.quantity import Quantity

_LOG = logging.getLogger("fairlead.devices.nvidia")
_RESTART_S: Final = 10.0
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SharedDevice:
    """A granted device as its processes will share it. `uuid` is the device's, `gpu` its GPU's where it is a whole one,
    "" for a MIG device, whose GPU's modes are not touched. `is_shareable`: other claims may hold it, too; `consumed` is
    this claim's part and `shares` how many there are (0: not counted)."""

    name: str
    uuid: str
    gpu: str
    config: GpuConfig | MigDeviceConfig | None
    is_shareable: bool = False
    consumed: Mapping[str, str] = field(default_factory=dict)
    shares: int = 0


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    """What a claim has set. `mps`: daemon -> GPUs in exclusive mode for it; `plain`: shareable devices without MPS."""

    time_sliced: list[str]
    mps: dict[str, list[str]]
    plain: list[str]


class Sharing:
    """`folder` must outlive the process and need not outlive the machine's start."""

    def __init__(self, nvml: Nvml, smi: NvidiaSmi, mps: MpsDaemons, folder: Path, clock: Clock = SYSTEM) -> None:
        self._nvml = nvml
        self._smi = smi
        self._mps = mps
        self._folder = folder
        self._clock = clock
        self._restarted_s: dict[str, float] = {}

    def apply(self, claim: ClaimReference, devices: Sequence[SharedDevice]) -> Mapping[str, ContainerEdits]:
        """Make the settings; edits by device name. Raises ConfigError, ClaimError."""
        groups = _mps_groups(claim, devices)
        settings = {key: _daemon_settings(claim, group) for key, group in groups.items()}
        sliced = {device.gpu: _interval(device) for device in devices if device.gpu and _slicing(device) is not None}
        record = _Record(
            time_sliced=list(sliced),
            mps={key: [device.gpu for device in group if device.gpu] for key, group in groups.items()},
            plain=[device.uuid for device in devices if device.is_shareable and _mps(device) is None],
        )
        if not record.time_sliced and not record.mps and not record.plain:
            return {}
        self._check_company(claim, record, groups)
        self._write(claim.uid, record)
        for gpu, interval in sliced.items():
            self._nvml.set_compute_mode(gpu, ComputeMode.DEFAULT)
            self._smi.set_time_slice(gpu, interval)
        edits: dict[str, ContainerEdits] = {}
        for key, group in groups.items():
            edits |= self._join(claim, key, group, settings[key])
        return edits

    def undo(self, uid: str) -> None:
        """Take back a claim's settings. Nothing to do for a claim without."""
        record = self._records().get(uid)
        if record is None:
            return
        others = [other for name, other in self._records().items() if name != uid]
        for key, gpus in record.mps.items():
            if all(key not in other.mps for other in others):
                self._mps.stop(key)
                for gpu in gpus:
                    self._quietly_default(gpu)
        for gpu in record.time_sliced:
            if all(gpu not in other.time_sliced for other in others) and not self._is_gone(gpu):
                self._smi.set_time_slice(gpu, 0)
        self._path(uid).unlink(missing_ok=True)

    def revive(self) -> None:
        """Start daemons anew that died while claims use them; each not more often than every 10 s."""
        needed = {key for record in self._records().values() for key in record.mps}
        for key in self._mps.dead():
            now_s = self._clock.monotonic_s()
            if key not in needed or now_s - self._restarted_s.get(key, -_RESTART_S) < _RESTART_S:
                continue
            self._restarted_s[key] = now_s
            _LOG.error("MPS control daemon of %s has died; it is started anew, its clients must be, too", key)
            try:
                self._mps.restart(key)
            except ClaimError as error:
                _LOG.error("MPS control daemon of %s: %s", key, error)

    def _join(
        self, claim: ClaimReference, key: str, group: Sequence[SharedDevice], settings: MpsSettings
    ) -> Mapping[str, ContainerEdits]:
        for device in group:
            if device.gpu:
                self._nvml.set_compute_mode(device.gpu, ComputeMode.EXCLUSIVE_PROCESS)
        self._mps.start(key, [device.uuid for device in group], settings)
        edits = self._mps.edits(key)
        if group[0].is_shareable:
            edits = msgspec.structs.replace(edits, env=[*edits.env, *_client_limits(claim, group[0])])
        return {device.name: edits for device in group}

    def _check_company(
        self, claim: ClaimReference, record: _Record, groups: Mapping[str, Sequence[SharedDevice]]
    ) -> None:
        """MPS takes a GPU for itself: all claims on it use it, or none."""
        for uid, other in self._records().items():
            if uid == claim.uid:
                continue
            with_mps = {device.uuid for group in groups.values() for device in group} & set(other.plain)
            without = set(record.plain) & set(other.mps)
            for device in sorted(with_mps | without):
                ours, theirs = ("MPS", "without") if device in with_mps else ("no MPS", "with")
                raise ClaimError(
                    f"claim {claim}: asks for {ours} on {device}, which claim {uid} shares {theirs} it; claims that "
                    f"share a device must agree"
                )

    def _quietly_default(self, gpu: str) -> None:
        try:
            self._nvml.set_compute_mode(gpu, ComputeMode.DEFAULT)
        except NvmlError as error:
            if error.code not in GONE:
                raise ClaimError(f"GPU {gpu}: exclusive mode cannot be taken back: {error}") from error

    def _is_gone(self, gpu: str) -> bool:
        try:
            self._nvml.minor(gpu)
        except NvmlError as error:
            return error.code in GONE
        return False

    def _path(self, uid: str) -> Path:
        return self._folder / f"{uid}.json"

    def _write(self, uid: str, record: _Record) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            draft = self._folder / f".{uid}"
            draft.write_text(json.dumps(msgspec.to_builtins(record)))
            draft.replace(self._path(uid))
        except OSError as error:
            raise ClaimError(
                f"{self._folder}: sharing settings cannot be written: {error.strerror}; see the option state_folder"
            ) from error

    def _records(self) -> dict[str, _Record]:
        """Claim -> its settings. A damaged file is of a claim that was never prepared, as it is written whole."""
        records: dict[str, _Record] = {}
        for path in sorted(self._folder.glob("*.json")):
            try:
                records[path.stem] = msgspec.json.decode(path.read_bytes(), type=_Record)
            except (OSError, msgspec.MsgspecError) as error:
                _LOG.warning("%s: left out: %s", path, error)
        return records


def _mps_groups(claim: ClaimReference, devices: Sequence[SharedDevice]) -> dict[str, list[SharedDevice]]:
    """Daemon -> its devices. A container's processes can speak to one daemon only."""
    groups: dict[str, list[SharedDevice]] = {}
    wanted = [device for device in devices if _mps(device) is not None]
    shareable = [device for device in wanted if device.is_shareable]
    if shareable and len(wanted) > 1:
        raise ConfigError(
            f"claim {claim}: MPS on a device that claims share works for one device a claim, and it has {len(wanted)}; "
            f"make a claim for each"
        )
    if shareable:
        return {shareable[0].uuid: shareable}
    for device in wanted:
        alike = [other for other in wanted if _mps(other) == _mps(device)]
        digest = hashlib.sha256(",".join(other.uuid for other in alike).encode()).hexdigest()
        groups[f"{claim.uid}-{digest[:5]}"] = alike
    return groups


def _daemon_settings(claim: ClaimReference, group: Sequence[SharedDevice]) -> MpsSettings:
    """Limits of a device that several claims share are each client's own, not the daemon's. Raises ConfigError."""
    config = _mps(group[0]) or MpsConfig()
    limits = pinned_limits(claim, config, [device.uuid for device in group])
    if group[0].is_shareable:
        return MpsSettings(multi_user=config.multi_user)
    return MpsSettings(config.default_active_thread_percentage, limits, config.multi_user)


def _client_limits(claim: ClaimReference, device: SharedDevice) -> list[str]:
    """A claim's part of a device as a client's limits: memory as it asked for, threads by its part of the shares."""
    config = _mps(device) or MpsConfig()
    env: list[str] = []
    memory = Quantity.parse(device.consumed.get("memory", "0")).value // _MIB
    told = pinned_limits(claim, config, [device.uuid]).get(device.uuid)
    limit = f"{memory}M" if memory else told
    if limit:
        env.append(f"CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0={limit}")
    threads = config.default_active_thread_percentage
    taken = Quantity.parse(device.consumed.get("shares", "0")).value
    if threads is None and device.shares and taken:
        threads = max(1, 100 * taken // device.shares)
    if threads is not None:
        env.append(f"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE={threads}")
    return env


def _mps(device: SharedDevice) -> MpsConfig | None:
    sharing = device.config.sharing if device.config is not None else None
    if sharing is None or sharing.strategy != "MPS":
        return None
    return sharing.mps_config or MpsConfig()


def _slicing(device: SharedDevice) -> TimeSlicingConfig | None:
    """MIG devices are time-sliced as their GPU is."""
    sharing = device.config.sharing if device.config is not None else None
    if not isinstance(sharing, GpuSharing) or sharing.strategy != "TimeSlicing":
        return None
    return sharing.time_slicing_config or TimeSlicingConfig()


def _interval(device: SharedDevice) -> int:
    slicing = _slicing(device)
    return INTERVALS[slicing.interval] if slicing is not None else 0
