"""Label keys of topology, and identifiers made fit for label values."""

from __future__ import annotations

import re
from typing import Final

FABRIC_TIER: Final = "fabric.topograph.run/tier-"
DOMAIN: Final = "accelerator.topograph.run/domain"
SUB_DOMAIN: Final = "accelerator.topograph.run/sub-domain"
ZONE: Final = "topology.kubernetes.io/zone"
REGION: Final = "topology.kubernetes.io/region"
CLIQUE: Final = "nvidia.com/gpu.clique"
INSTANCE_ANNOTATION: Final = "topograph.run/instance"

_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?")
_KEY_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_KEY_PREFIX = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_LONGEST = 63
_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3


def fnv64a(data: bytes) -> int:
    """FNV-1a of 64 bits (Fowler, Noll, Vo; RFC 9923)."""
    value = _FNV_OFFSET
    for byte in data:
        value = (value ^ byte) * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF
    return value


def label_value(text: str) -> str:
    """The text where it is a label value; else `x` and its FNV-64a in hexadecimal, as Topograph writes long ones (it
    leaves values with characters that no label takes to the API server, which refuses them)."""
    if len(text) <= _LONGEST and _VALUE.fullmatch(text):
        return text
    return f"x{fnv64a(text.encode()):x}"


def is_label_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if not _KEY_NAME.fullmatch(name):
        return False
    return not slash or (len(prefix) <= 253 and _KEY_PREFIX.fullmatch(prefix) is not None)


def tier_key(tier: int) -> str:
    return f"{FABRIC_TIER}{tier}"
