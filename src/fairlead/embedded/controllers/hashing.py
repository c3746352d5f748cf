"""Short names for templates, in the alphabet that Kubernetes uses for generated names.

`revision_hash` is exactly the StatefulSet controller's (FNV-1 of the revision's JSON). The Deployment controller hashes
the printed form of a Go struct, which nothing outside Go can repeat: `template_hash` has its form, not its value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_FNV32_OFFSET = 0x811C9DC5
_FNV32_PRIME = 0x01000193


def template_hash(template: Mapping[str, Any], collisions: int = 0) -> str:
    """A pod template's hash; `collisions` makes another one when a foreign ReplicaSet already has the name."""
    data = _canonical(template)
    if collisions:
        data += collisions.to_bytes(8, "little")
    return _encode(_fnv1a(data))


def revision_data(template: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a ControllerRevision: a strategic merge patch that restores the template."""
    return {"spec": {"template": {**template, "$patch": "replace"}}}


def revision_hash(data: Mapping[str, Any], collisions: int = 0) -> str:
    """Hash of a ControllerRevision's data, as in its name and in the `controller-revision-hash` label."""
    value = _FNV32_OFFSET
    for byte in _canonical(data) + str(collisions).encode():
        value = (value * _FNV32_PRIME & 0xFFFFFFFF) ^ byte
    return _encode(value)


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _fnv1a(data: bytes) -> int:
    value = _FNV32_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV32_PRIME) & 0xFFFFFFFF
    return value


def _encode(value: int) -> str:
    return "".join(_ALPHABET[ord(c) % len(_ALPHABET)] for c in str(value))
