"""Pages of exporters of power and energy: watts now, joules since a start, device by device.

Names, units and labels, by their documentation:

- NVIDIA DCGM exporter: `DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION` (mJ since boot), `DCGM_FI_DEV_POWER_USAGE` (W). A GPU
  that is split (MIG) has its series once for each instance, with the whole GPU's value.
- AMD device metrics exporter: `gpu_energy_consumed` (µJ), `gpu_package_power`, `gpu_average_package_power`,
  `gpu_power_usage` (W), with `amd_` in front by its settings.
- Furiosa metrics exporter: `furiosa_npu_hw_power` (W; label `label="rms"`).
- Intel Gaudi exporter: `habanalabs_power_mW`.
- Triton: `nv_energy_consumption` (J), `nv_gpu_power_usage` (W) on its own page.
- Kepler from 0.10: `kepler_node_gpu_joules_total`, `kepler_node_gpu_watts`; of hosts `kepler_node_cpu_joules_total` and
  `kepler_node_cpu_watts` of the zones package and dram. Kepler before: `kepler_node_gpu_joules_total`,
  `kepler_node_package_joules_total`, `kepler_node_dram_joules_total` (J, in parts by mode, which add up).

TPUs have no documented series of power.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from fairlead.bench.server_side.reading import Reader, Reading
from fairlead.engines.prometheus_text import MetricsPage, labels_of

Domain = Literal["accelerators", "hosts"]
Kind = Literal["joules", "watts"]

MAX_DEVICES = 1024
"""Of one page."""
MOST: dict[Kind, float] = {"watts": 1e5, "joules": 1e11}
"""Of one device. DCGM writes 2^47, or nearly 2^63, where it has no value (DCGM_FP64_BLANK, DCGM_INT64_BLANK)."""
_DEVICE_LABELS = ("UUID", "uuid", "gpu_uuid", "serial_number", "gpu_id", "gpu", "device", "instance")
_PART_LABELS = ("mode",)
"""Whose series add up to the device's."""


class _Source(NamedTuple):
    domain: Domain
    kind: Kind
    names: tuple[bytes, ...]
    scale: float
    where: tuple[str, tuple[str, ...]] | None = None


_SOURCES = (
    _Source("accelerators", "joules", (b"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",), 1e-3),
    _Source("accelerators", "joules", (b"gpu_energy_consumed", b"amd_gpu_energy_consumed"), 1e-6),
    _Source("accelerators", "joules", (b"nv_energy_consumption",), 1.0),
    _Source("accelerators", "joules", (b"kepler_node_gpu_joules_total",), 1.0),
    _Source("accelerators", "watts", (b"DCGM_FI_DEV_POWER_USAGE",), 1.0),
    _Source(
        "accelerators", "watts",
        (
            b"gpu_package_power", b"amd_gpu_package_power", b"gpu_average_package_power",
            b"amd_gpu_average_package_power", b"gpu_power_usage", b"amd_gpu_power_usage",
        ),
        1.0,
    ),
    _Source("accelerators", "watts", (b"furiosa_npu_hw_power",), 1.0, ("label", ("rms",))),
    _Source("accelerators", "watts", (b"habanalabs_power_mW",), 1e-3),
    _Source("accelerators", "watts", (b"nv_gpu_power_usage",), 1.0),
    _Source("accelerators", "watts", (b"kepler_node_gpu_watts",), 1.0),
    _Source("hosts", "joules", (b"kepler_node_cpu_joules_total",), 1.0, ("zone", ("package", "dram"))),
    _Source("hosts", "joules", (b"kepler_node_package_joules_total",), 1.0),
    _Source("hosts", "joules", (b"kepler_node_dram_joules_total",), 1.0),
    _Source("hosts", "watts", (b"kepler_node_cpu_watts",), 1.0, ("zone", ("package", "dram"))),
)  # fmt: skip
_ZONES = {b"kepler_node_package_joules_total": "package", b"kepler_node_dram_joules_total": "dram"}

Labels = Mapping[str, str | tuple[str, ...]]


def power_reader(chosen: Labels) -> Reader:
    """Reads watts and joules into values named `domain:kind:device`, of the series whose labels are as chosen."""
    wanted = {name: (value,) if isinstance(value, str) else tuple(value) for name, value in chosen.items()}

    def read(text: bytes, _: bool) -> Reading:
        page = MetricsPage(text)
        values: dict[str, float] = {}
        for source in _SOURCES:
            # Several exporters may say the same of a device, and of Kepler's older zones each is a source of its own.
            said = f"{source.domain}:{source.kind}:"
            if source.domain == "accelerators" and any(name.startswith(said) for name in values):
                continue
            for name, value in _read(page, source, wanted).items():
                values.setdefault(name, value)
                if len(values) > 2 * MAX_DEVICES:
                    return Reading({}, None, {})
        return Reading(values, None, {})

    return read


def device_of(column: str) -> tuple[Domain, Kind, str]:
    """What a value's name says."""
    domain, kind, device = column.split(":", 2)
    return domain, kind, device  # type: ignore[return-value]


def _read(page: MetricsPage, source: _Source, wanted: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    for name in source.names:
        parts: dict[str, dict[str, float]] = {}
        samples = page.samples(name)
        for number, sample in enumerate(samples):
            labels = labels_of(sample)
            if not 0 <= sample.value * source.scale <= MOST[source.kind] or not _fits(labels, wanted):
                continue
            if source.where is not None and labels.get(source.where[0], source.where[1][0]) not in source.where[1]:
                continue
            device = _device(labels) or (str(number) if len(samples) > 1 and not labels else "0")
            zone = labels.get("zone", _ZONES.get(name, ""))
            part = ",".join(labels.get(label, "") for label in _PART_LABELS)
            key = f"{source.domain}:{source.kind}:{device}{'/' + zone if zone else ''}"
            # One device under several names (instances of MIG, pods that share it) has one value.
            seen = parts.setdefault(key, {})
            seen[part] = max(seen.get(part, 0.0), sample.value * source.scale)
        if samples:
            return {key: sum(of.values()) for key, of in parts.items()}
    return {}


def _device(labels: Mapping[str, str]) -> str:
    """The first label that names the device; a host's name goes with what counts within a host alone."""
    for label in _DEVICE_LABELS:
        if labels.get(label):
            host = "" if re.search("uuid|serial", label, re.IGNORECASE) else _host(labels)
            return f"{host}{labels[label]}"
    return _host(labels).rstrip("/")


def _host(labels: Mapping[str, str]) -> str:
    for label in ("Hostname", "hostname", "node_name", "kubernetes_node_name", "node", "host"):
        if labels.get(label):
            return labels[label] + "/"
    return ""


def _fits(labels: Mapping[str, str], wanted: Mapping[str, tuple[str, ...]]) -> bool:
    return all(any(fnmatchcase(labels.get(name, ""), value) for value in values) for name, values in wanted.items())
