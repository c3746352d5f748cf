"""Names as numbers."""

from __future__ import annotations

from hashlib import blake2b


def identity(name: str) -> int:
    """64 bits for a name, the same everywhere."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
