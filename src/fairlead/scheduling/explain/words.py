"""Names and amounts as people write them."""

from __future__ import annotations

from typing import Final

from fairlead.scheduling.gangs.levels import ALIASES

_ALIAS_OF: Final = {label: alias for alias, label in ALIASES.items()}
_NAMES: Final = {"nvlink": "NVLink domain"}
_BINARY: Final = ((1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki"))
_BYTES: Final = ("memory", "ephemeral-storage")
_DEVICES: Final = ".deviceclass.resource.k8s.io/devices"


def level_name(level: str) -> str:
    """A topology level by its short name, where it has one; else its label."""
    alias = _ALIAS_OF.get(level, level)
    return _NAMES.get(alias, alias)


def domain_name(level: str, value: str) -> str:
    """`rack leaf-3`; a level without a short name with its label: `example.com/pod=p7`."""
    return f"{level_name(level)} {value}" if level in _ALIAS_OF else f"{level}={value}"


def counted(count: int, noun: str) -> str:
    """`1 pod`, `2 pods`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(parts: list[str], most: int = 5) -> str:
    """`a, b and 3 more`."""
    if len(parts) <= most:
        return ", ".join(parts)
    return f"{', '.join(parts[:most])} and {len(parts) - most} more"


def amount(resource: str, value: int) -> str:
    """An amount of a snapshot as a quantity: cpu from millicores, memory from bytes."""
    if resource == "cpu":
        return str(value // 1000) if value % 1000 == 0 else f"{value}m"
    if resource in _BYTES or resource.startswith("hugepages-"):
        for size, unit in _BINARY:
            if value >= size:
                return f"{value / size:.4g}{unit}"
    return str(value)


def resource_name(resource: str) -> str:
    """A quota's resource as people say it: devices by their class."""
    return resource.removesuffix(_DEVICES) if resource.endswith(_DEVICES) else resource
