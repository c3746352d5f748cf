"""Names of ResourceSlices: fixed by driver, pool and slot, so that two writers meet at one object, not make two.

The form is `<pool>-<driver>-<digest>-<kind>-<number>`. The digest keeps pools apart whose names run into each other
("a" of driver "b-c" and "a-b" of "c"). Allocators go through a pool's slices by name, so numbers have a fixed width.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final, Literal, NamedTuple

Kind = Literal["counters", "devices"]
_MAX_NAME: Final = 253
_SUFFIX: Final = re.compile(r"-([0-9a-f]{8})-(counters|devices)-(\d{3,})")
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9.]+")


class Slot(NamedTuple):
    """A place for part of a pool. What it holds changes; its name does not."""

    kind: Kind
    number: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.number:03d}"


FIRST: Final = Slot("devices", 0)
"""The slot that every pool has, and that every new generation is begun with: whoever writes it owns the generation."""


def slice_name(driver: str, pool: str, slot: Slot) -> str:
    digest = _digest(driver, pool)
    suffix = f"-{digest}-{slot}"
    readable = _readable(f"{pool}-{driver}")[: _MAX_NAME - len(suffix)].rstrip("-.")
    return f"{readable}{suffix}"


def slot_of(driver: str, pool: str, name: str) -> Slot | None:
    """The slot that a slice's name says; None for a name that is not one of this pool's."""
    match = _SUFFIX.search(name)
    if match is None:
        return None
    slot = Slot("counters" if match[2] == "counters" else "devices", int(match[3]))
    return slot if slice_name(driver, pool, slot) == name else None


def _digest(driver: str, pool: str) -> str:
    return sha256(f"{driver}\0{pool}".encode()).hexdigest()[:8]


def _readable(text: str) -> str:
    parts = (part.strip("-") for part in _NOT_IN_A_NAME.sub("-", text.lower()).split("."))
    return ".".join(part for part in parts if part) or "pool"
