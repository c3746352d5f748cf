"""Loopback addresses for nodes and pods: one /24 of 127.0.0.0/8 per node, unique on the machine.

A node's range is reserved by a file in a folder that all agents of the machine share, which names the node's data
folder; a reservation whose folder is gone is free again. The node itself has `.1`, its pods the rest. Ranges lie in
127.64.0.0 to 127.254.255.0, away from the addresses that people use by hand.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

_FIRST, _LAST = 64, 254
_RANGES = (_LAST - _FIRST + 1) * 256
_FIRST_POD, _LAST_POD = 2, 254


class AddressError(Exception):
    """No loopback address is left; the message says of what."""


def reservations_folder() -> Path:
    """Shared by all users of the machine, like the loopback range itself."""
    folder = Path(os.environ.get("FAIRLEAD_ADDRESSES", Path(tempfile.gettempdir()) / "fairlead-addresses"))
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(PermissionError):
        folder.chmod(0o1777)
    return folder


def reserve_range(node_folder: Path, reservations: Path | None = None) -> str:
    """The first three octets of the node's range, the same each time for the same folder. Raises AddressError."""
    folder = reservations or reservations_folder()
    owner = str(node_folder.resolve())
    remembered = node_folder / "range"
    if remembered.exists() and _claim(folder, remembered.read_text().strip(), owner):
        return remembered.read_text().strip()
    start = int.from_bytes(hashlib.sha256(owner.encode()).digest()[:4], "big")
    for step in range(_RANGES):
        number = (start + step) % _RANGES
        prefix = f"127.{_FIRST + number // 256}.{number % 256}"
        if _claim(folder, prefix, owner):
            remembered.write_text(prefix)
            return prefix
    raise AddressError("no free range of loopback addresses: all are reserved by other nodes of this machine")


def release_range(node_folder: Path, reservations: Path | None = None) -> None:
    folder = reservations or reservations_folder()
    remembered = node_folder / "range"
    if remembered.exists():
        with contextlib.suppress(OSError):
            (folder / remembered.read_text().strip()).unlink()


def _claim(folder: Path, prefix: str, owner: str) -> bool:
    reservation = folder / prefix
    for _ in range(3):
        try:
            with open(reservation, "x") as file:
                file.write(owner)
            return True
        except FileExistsError:
            pass
        try:
            holder = reservation.read_text()
        except OSError:
            continue
        if holder == owner:
            return True
        if not holder or os.path.isdir(holder):
            return False
        with contextlib.suppress(OSError):
            reservation.unlink()
    return False


class PodAddresses:
    """The addresses of one node's pods, remembered on disk in each pod's folder by whoever allocates."""

    def __init__(self, prefix: str) -> None:
        self.node_ip = f"{prefix}.1"
        self._prefix = prefix
        self._taken: dict[str, str] = {}
        self._last = _FIRST_POD - 1

    def restore(self, uid: str, address: str) -> None:
        """Keep the address of a pod that is already there."""
        self._taken[uid] = address

    def allocate(self, uid: str) -> str:
        """The pod's address; freed ones come round last. Raises AddressError when the node has none left."""
        if uid in self._taken:
            return self._taken[uid]
        used = set(self._taken.values())
        count = _LAST_POD - _FIRST_POD + 1
        for step in range(1, count + 1):
            host = _FIRST_POD + (self._last - _FIRST_POD + step) % count
            address = f"{self._prefix}.{host}"
            if address not in used:
                self._taken[uid] = address
                self._last = host
                return address
        raise AddressError(
            f"failed to allocate for range 0: no IP addresses available in range set: {self._prefix}.0/24"
        )

    def release(self, uid: str) -> None:
        self._taken.pop(uid, None)


def restore_addresses(pods_folder: Path, addresses: PodAddresses) -> None:
    """Read the addresses of the pods on disk."""
    for record in pods_folder.glob("*/pod.json"):
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(record.read_text())
            if known.get("ip"):
                addresses.restore(record.parent.name, known["ip"])
