"""What is written down beside a model in the cache, and beside one that is on its way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

MODEL_FILE = "model.json"
RESERVATION_FILE = "reservation.json"
T = TypeVar("T")


class CachedFile(msgspec.Struct, frozen=True):
    """A file of the model as it was when it came in."""

    name: str
    size: int
    sha256: str


class ModelRecord(msgspec.Struct, frozen=True):
    """`bytes` is what the model counts with. `entry`: the one file that is the model, empty for the folder."""

    digest: str
    source: str
    files: list[CachedFile]
    bytes: int
    entry: str = ""
    fetched_s: float = 0.0


class Reservation(msgspec.Struct, frozen=True):
    """Room for a model that is on its way. `boot` tells whether what was written may have been lost since."""

    digest: str
    source: str
    bytes: int
    boot: str
    began_s: float


class SourceRecord(msgspec.Struct, frozen=True):
    """Which model a source meant when it was last asked."""

    source: str
    digest: str
    seen_s: float


def write(path: Path, record: msgspec.Struct | int) -> None:
    """Whole or not at all, also if the machine stops: written aside, synced, renamed. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(fresh, "wb") as file:
            file.write(msgspec.json.encode(record))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read(path: Path, kind: type[T]) -> T | None:
    """None where there is none, or nothing that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def sync_folder(path: Path) -> None:
    """What was renamed or made in the folder survives a stop of the machine."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
