"""Opaque parameters of a claim or class, as NVIDIA's DRA driver takes them (resource.nvidia.com/v1beta1).

GpuConfig for whole GPUs and MigDeviceConfig for MIG devices say how their processes share them: TimeSlicing (with an
interval, whole GPUs only) or MPS (with limits). Unknown fields and values are refused, with what would be accepted. Of
several configurations that fit a device the last wins, whole, as upstream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from fairlead.devices.errors import ConfigError
from fairlead.devices.vendor import ClaimReference, Grant
from fairlead.kube.quantity import Quantity

API_VERSION: Final = "resource.nvidia.com/v1beta1"
INTERVALS: Final[Mapping[str, int]] = {"Default": 0, "Short": 1, "Medium": 2, "Long": 3}
"""Interval -> what `nvidia-smi compute-policy --set-timeslice` calls it."""
_MIB: Final = 1 << 20
_MOST_MIB: Final = 1 << 30
"""More than this (a PiB) no device has, and MPS does not read."""
_SHOWN: Final = 60
"""Characters of a user's text that an error repeats."""

Interval = Literal["Default", "Short", "Medium", "Long"]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    pass


class TimeSlicingConfig(_Part, frozen=True):
    interval: Interval = "Default"


class MpsConfig(_Part, frozen=True):
    """`default_active_thread_percentage` of a client; `default_pinned_device_memory_limit` a quantity for every device,
    `default_per_device_pinned_memory_limit` by a device's UUID or its number in the claim. `multi_user`: clients of
    several users share."""

    default_active_thread_percentage: int | None = None
    default_pinned_device_memory_limit: str | int | None = None
    default_per_device_pinned_memory_limit: Mapping[str, str | int] = {}
    multi_user: bool = False


class GpuSharing(_Part, frozen=True):
    strategy: Literal["TimeSlicing", "MPS"]
    time_slicing_config: TimeSlicingConfig | None = None
    mps_config: MpsConfig | None = None


class GpuConfig(_Part, frozen=True):
    api_version: str
    kind: str
    sharing: GpuSharing | None = None


class MigDeviceSharing(_Part, frozen=True):
    strategy: Literal["TimeSlicing", "MPS"]
    mps_config: MpsConfig | None = None


class MigDeviceConfig(_Part, frozen=True):
    api_version: str
    kind: str
    sharing: MigDeviceSharing | None = None


class IommuConfig(_Part, frozen=True):
    """`enable_api_device`: the container also gets the device that IOMMU backends are spoken to through."""

    backend_policy: Literal["LegacyOnly", "PreferIommuFD"] = "LegacyOnly"
    enable_api_device: bool = msgspec.field(default=False, name="enableAPIDevice")


class VfioDeviceConfig(_Part, frozen=True):
    api_version: str
    kind: str
    iommu: IommuConfig = IommuConfig()


Config = GpuConfig | MigDeviceConfig | VfioDeviceConfig
_KINDS: Final[Mapping[str, type[Config]]] = {
    "GpuConfig": GpuConfig,
    "MigDeviceConfig": MigDeviceConfig,
    "VfioDeviceConfig": VfioDeviceConfig,
}
_FOR: Final[Mapping[str, str]] = {"gpu": "GpuConfig", "mig": "MigDeviceConfig", "vfio": "VfioDeviceConfig"}
"""Type of device -> the kind that configures it."""


def read_config(claim: ClaimReference, grant: Grant) -> Config | None:
    """The configuration of a granted device: the last of its kind. Others are checked all the same; a class may carry
    one for GPUs and one for MIG devices. Raises ConfigError."""
    wanted = _KINDS[_FOR[str(grant.device.attributes.get("type"))]]
    configs = [_read(claim, grant.request, document) for document in grant.config]
    return next((config for config in reversed(configs) if isinstance(config, wanted)), None)


def pinned_limits(claim: ClaimReference, config: MpsConfig, uuids: Sequence[str]) -> dict[str, str]:
    """UUID -> limit as MPS writes it ("1024M"). Raises ConfigError."""
    limits: dict[str, str] = {}
    if config.default_pinned_device_memory_limit is not None:
        limit = _megabytes(claim, "defaultPinnedDeviceMemoryLimit", config.default_pinned_device_memory_limit)
        limits = dict.fromkeys(uuids, limit)
    for device, amount in config.default_per_device_pinned_memory_limit.items():
        field = f"defaultPerDevicePinnedMemoryLimit[{device[:_SHOWN]}]"
        limits[_device(claim, field, device, uuids)] = _megabytes(claim, field, amount)
    return limits


def _read(claim: ClaimReference, request: str, document: Mapping[str, Any]) -> Config:
    where = f'claim {claim}: request "{request}": configuration'
    version, kind = document.get("apiVersion"), str(document.get("kind"))
    if version != API_VERSION:
        raise ConfigError(f'{where}: apiVersion is "{version}"; this driver takes {API_VERSION}')
    if kind not in _KINDS:
        kinds = ", ".join(_KINDS)
        raise ConfigError(f'{where}: kind is "{kind}"; this driver takes {kinds}')
    try:
        config = msgspec.convert(document, _KINDS[kind])
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {kind}: {error}; {_allowed(str(error), _KINDS[kind])}") from error
    if isinstance(config, GpuConfig | MigDeviceConfig):
        _check_sharing(f"{where}: {kind}", config.sharing)
    return config


def _check_sharing(where: str, sharing: GpuSharing | MigDeviceSharing | None) -> None:
    if sharing is None:
        return
    mps = sharing.mps_config
    slicing = sharing.time_slicing_config if isinstance(sharing, GpuSharing) else None
    if sharing.strategy == "MPS" and slicing is not None:
        raise ConfigError(f"{where}: sharing.timeSlicingConfig is given with strategy MPS; leave it out")
    if sharing.strategy == "TimeSlicing" and mps is not None:
        raise ConfigError(f"{where}: sharing.mpsConfig is given with strategy TimeSlicing; leave it out")
    percentage = mps.default_active_thread_percentage if mps else None
    if percentage is not None and not 0 <= percentage <= 100:
        raise ConfigError(
            f"{where}: sharing.mpsConfig.defaultActiveThreadPercentage is {percentage}; it must be 0 to 100"
        )


def _allowed(error: str, kind: type[msgspec.Struct]) -> str:
    """What would be accepted at the place that a decoding error names."""
    if "interval" in error:
        return f"sharing.timeSlicingConfig.interval is one of {', '.join(INTERVALS)}"
    if "backendPolicy" in error:
        return "iommu.backendPolicy is LegacyOnly or PreferIommuFD"
    if "strategy" in error:
        return "sharing.strategy is TimeSlicing or MPS"
    for place, part in (
        ("iommu", IommuConfig),
        ("mpsConfig", MpsConfig),
        ("timeSlicingConfig", TimeSlicingConfig),
        ("sharing", GpuSharing),
    ):
        if place in error:
            return f"{place} has the fields {_fields(part)}"
    return f"its fields are {_fields(kind)}"


def _fields(kind: type[msgspec.Struct]) -> str:
    return ", ".join(field.encode_name for field in msgspec.structs.fields(kind))


def _device(claim: ClaimReference, field: str, device: str, uuids: Sequence[str]) -> str:
    if device in uuids:
        return device
    number = next((number for number in range(len(uuids)) if device == str(number)), None)
    if number is not None:
        return uuids[number]
    raise ConfigError(
        f'claim {claim}: {field}: the claim has no device "{device[:_SHOWN]}"; name one by UUID or by its number, '
        f"0 to {len(uuids) - 1}"
    )


def _megabytes(claim: ClaimReference, field: str, amount: str | int) -> str:
    try:
        written = str(amount)
        megabytes = Quantity.parse(written).value // _MIB
    except ValueError as error:
        shown = str(amount)[:_SHOWN] if isinstance(amount, str) else "a number of thousands of digits"
        raise ConfigError(f'claim {claim}: {field}: "{shown}" is no quantity such as 4Gi: {error}') from error
    if megabytes < 1:
        raise ConfigError(
            f'claim {claim}: {field}: "{written[:_SHOWN]}" is less than 1Mi, the least that MPS can limit to'
        )
    if megabytes > _MOST_MIB:
        raise ConfigError(f'claim {claim}: {field}: "{written[:_SHOWN]}" is more than any GPU has')
    return f"{megabytes}M"
