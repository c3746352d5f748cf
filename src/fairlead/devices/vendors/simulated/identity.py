"""Uuids, serial numbers and addresses of simulated hardware: the same for the same fleet, node and place. Pure."""

from __future__ import annotations

import hashlib


class Identity:
    """What identifies the devices of one node. `seed` is the fleet's."""

    def __init__(self, seed: str, node: str) -> None:
        self.node = node
        self._base = f"{seed}\0{node}\0"

    def uuid(self, kind: str, index: int) -> str:
        """In the form of a random (version 4) uuid."""
        return format_uuid(self._digest(kind, index))

    def hexadecimal(self, kind: str, index: int, digits: int) -> str:
        return self._digest(kind, index)[:digits]

    def serial(self, kind: str, index: int, digits: int = 13) -> str:
        """A serial number of decimal digits."""
        return str(int(self._digest(kind, index), 16))[-digits:]

    def mac(self, kind: str, index: int) -> str:
        """A hardware address of the locally administered range."""
        digest = self._digest(kind, index)
        return ":".join(("02", *(digest[n : n + 2] for n in range(0, 10, 2))))

    def _digest(self, kind: str, index: int) -> str:
        return hashlib.sha256(f"{self._base}{kind}\0{index}".encode()).hexdigest()


def format_uuid(digest: str) -> str:
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"
