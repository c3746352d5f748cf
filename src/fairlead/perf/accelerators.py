"""Accelerators as data: what one device holds, how fast it reads and computes, what it costs, and who says so.

The table is `accelerators.json`, read once. Every figure has its source; what is not known is None and never zero.
Rates are dense (without structured sparsity). A file of the same shape, JSON or YAML, adds entries or replaces those
of the same name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import msgspec

_FIGURES = (
    "memory_bytes",
    "memory_bytes_per_s",
    "bf16_flops",
    "fp8_flops",
    "fp4_flops",
    "int8_ops",
    "scale_up_bytes_per_s",
    "scale_up_devices",
    "network_bytes_per_s",
    "host_link_bytes_per_s",
    "tdp_w",
)


class AcceleratorError(ValueError):
    """An accelerator is unknown, or its description is not usable; the message names what would be."""


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The range of list prices of one device, on demand, in US dollars per hour, on the date `as_of` (ISO 8601)."""

    low_usd_per_h: float
    high_usd_per_h: float
    as_of: str
    source: str


class Accelerator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device. None means unknown; a rate of None is either unknown or not supported by the hardware.

    `scale_up_bytes_per_s` is what one device sends to its peers of the scale-up domain (NVLink, Infinity Fabric, ICI)
    in one direction, all links together; None where peers meet over the host link only. `network_bytes_per_s` is the
    usual share of the node's network of one device, `host_link_bytes_per_s` the link to its host in one direction.
    """

    name: str
    vendor: str
    aliases: tuple[str, ...] = ()
    memory_bytes: int | None = None
    memory_bytes_per_s: float | None = None
    bf16_flops: float | None = None
    fp8_flops: float | None = None
    fp4_flops: float | None = None
    int8_ops: float | None = None
    scale_up_bytes_per_s: float | None = None
    scale_up_devices: int | None = None
    network_bytes_per_s: float | None = None
    host_link_bytes_per_s: float | None = None
    tdp_w: float | None = None
    price: Price | None = None
    sources: dict[str, str] = {}
    note: str = ""

    def required(self, field: str) -> float:
        """The figure `field`, or an AcceleratorError that says where to supply it."""
        value = getattr(self, field)
        if value is None:
            raise AcceleratorError(
                f"{self.name}: {field} is unknown; describe the device in a file for load_accelerators()"
                + (f" ({self.note})" if self.note else "")
            )
        return float(value)


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    accelerators: tuple[Accelerator, ...]


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """The shipped table: name -> accelerator, in the order of the file."""
    text = resources.files("fairlead.perf").joinpath("accelerators.json").read_bytes()
    return MappingProxyType(_checked(msgspec.json.decode(text, type=_Table), "accelerators.json"))


def load_accelerators(path: str | Path) -> Mapping[str, Accelerator]:
    """The shipped table with the entries of a JSON or YAML file added to it; an entry replaces its namesake.

    Raises AcceleratorError that names the file and the field which is missing, unknown or of a wrong type or value.
    """
    path = Path(path)
    try:
        text = path.read_bytes()
        if path.suffix == ".json":
            read = msgspec.json.decode(text, type=_Table)
        else:
            # YAML 1.1 reads 4.0e10, without a sign, as a string; lax conversion takes it for the number it is.
            read = msgspec.yaml.decode(text, type=_Table, strict=False)
        own = _checked(read, str(path))
    except OSError as error:
        raise AcceleratorError(f"{path}: {error.strerror}; expected a JSON or YAML table of accelerators") from error
    except msgspec.MsgspecError as error:
        raise AcceleratorError(f"{path}: {error}; expected accelerators: [{{name, vendor, …}}]") from error
    return MappingProxyType({**accelerators(), **own})


def accelerator(name: str, table: Mapping[str, Accelerator] | None = None) -> Accelerator:
    """The entry of that name or alias; AcceleratorError lists the names when there is none.

    Case does not matter, and spaces and underscores count as dashes: drivers say "NVIDIA H100 80GB HBM3" where node
    labels say "NVIDIA-H100-80GB-HBM3". `table` is a result of `load_accelerators`, the shipped table without it.
    """
    table = accelerators() if table is None else table
    wanted = _folded(name)
    for entry in table.values():
        if _folded(entry.name) == wanted:
            return entry
    for entry in table.values():
        if any(_folded(alias) == wanted for alias in entry.aliases):
            return entry
    raise AcceleratorError(f"no accelerator is named {name!r}; known: {', '.join(table)}")


def _folded(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.strip()).casefold()


def _checked(table: _Table, origin: str) -> dict[str, Accelerator]:
    entries: dict[str, Accelerator] = {}
    for entry in table.accelerators:
        if not entry.name or entry.name in entries:
            raise AcceleratorError(f"{origin}: name {entry.name!r} is empty or given twice; names are unique")
        _check_figures(entry, origin)
        entries[entry.name] = entry
    return entries


def _check_figures(entry: Accelerator, origin: str) -> None:
    for field in _FIGURES:
        value = getattr(entry, field)
        if value is not None and not 0 < value < float("inf"):
            raise AcceleratorError(f"{origin}: {entry.name}: {field} is {value}; give a positive number, or omit it")
    price = entry.price
    if price is not None and not 0 <= price.low_usd_per_h <= price.high_usd_per_h < float("inf"):
        raise AcceleratorError(
            f"{origin}: {entry.name}: price is {price.low_usd_per_h} to {price.high_usd_per_h}; "
            "low_usd_per_h is 0 or more and at most high_usd_per_h"
        )
