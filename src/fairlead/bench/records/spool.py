"""Records appended to a file as they come, in the frames that workers send them in (`wire.py`): a length of four bytes
and a msgpack message. What has been written is readable whatever happens afterwards; a frame torn by the end of the
process, or of the disk, is left out."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from fairlead.bench.record import Record
from fairlead.bench.wire import LARGEST_BYTES, LENGTH_BYTES, Records, frame, up_decoder

SPOOL = "records.spool"
RECORDS_A_FRAME = 512


class Spool:
    """One file, made new. Raises OSError: a full disk, a folder that is not writable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Unbuffered: what a call has written is the kernel's, and outlives a kill of this process.
        self._file = path.open("wb", buffering=0)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._good_bytes = 0

    def append(self, records: Sequence[Record]) -> None:
        """All of them, or none: after an OSError the file ends where it did before."""
        for at in range(0, len(records), RECORDS_A_FRAME):
            data = memoryview(frame(Records(list(records[at : at + RECORDS_A_FRAME]))))
            try:
                while data:
                    data = data[self._file.write(data) :]
            except OSError:
                os.ftruncate(self._file.fileno(), self._good_bytes)
                self._file.seek(self._good_bytes)
                raise
            self._good_bytes = self._file.tell()

    def close(self) -> None:
        self._file.close()


def named(name: str, part: str) -> str:
    """A file of one of several writers who share a folder."""
    return f"{part}-{name}" if part else name


def is_being_written(path: Path) -> bool:
    """Whether its writer lives: the lock on it ends with the process. Raises OSError."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # without locks nobody can tell
            return False
    return False


def read_spool(path: Path) -> Iterator[list[Record]]:
    """Frame after frame, as far as they are whole. Raises OSError."""
    with path.open("rb") as file:
        while (message := _read_frame(file)) is not None:
            yield message.records


def _read_frame(file: BinaryIO) -> Records | None:
    head = file.read(LENGTH_BYTES)
    length = int.from_bytes(head, "big")
    if len(head) < LENGTH_BYTES or length > LARGEST_BYTES:
        return None
    body = file.read(length)
    if len(body) < length:
        return None
    try:
        message = up_decoder.decode(body)
    except msgspec.MsgspecError:
        return None
    return message if isinstance(message, Records) else None
