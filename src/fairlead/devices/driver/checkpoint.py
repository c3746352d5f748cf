"""The record of prepared claims on the disk: checksummed, written in one step, the copy before it kept.

    checkpoint.json           {"version": 1, "checksum": "xxh3:…", "data": {"bootID": …, "claims": [...]}}
    checkpoint.json.previous  what was there before the last write

Whether a write is forced to the disk at once matters only where the machine itself stops: what a process has written
outlives the process. That a claim is about to be prepared is forced where hardware may remember it when the machine is
back (`Vendor.outlives_machine`); the rest is forced soon after, as a restart of the machine undoes it in any case.

The checksum is over the bytes of `data` as they are in the file. A write goes to a temporary file and takes the name in
one step, so that a reader finds the old record or the new one wherever the process dies. A damaged file is never
guessed at: `load` says what is wrong, and `recovery` puts the record together again from the previous copy and from the
claims in the API.

After a restart of the machine nothing of what was prepared is sure to be there: "prepared" records become "preparing",
whose devices stay taken, and the kubelet asks for them again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import xxhash

from fairlead.devices.driver.records import ClaimRecord, Records
from fairlead.devices.errors import CheckpointError

VERSION: Final = 1
FILE: Final = "checkpoint.json"


class _Data(msgspec.Struct, frozen=True):
    boot_id: str = msgspec.field(name="bootID")
    claims: list[ClaimRecord]


class _File(msgspec.Struct, frozen=True):
    version: int
    checksum: str
    data: msgspec.Raw


_FILE: Final = msgspec.json.Decoder(_File)
_DATA: Final = msgspec.json.Decoder(_Data)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class CheckpointDamaged(CheckpointError):
    """The file is there and cannot be trusted. `previous` is what the copy before it says, None where it cannot be
    trusted either."""

    def __init__(self, message: str, previous: Records | None) -> None:
        super().__init__(message)
        self.previous = previous


class Checkpoint:
    """The record of one driver on one node. `records` is what the disk has; `save` changes both or neither.

    Whoever calls `refresh` and `save` holds the lock that instances share (`rolling.FileLock`).
    """

    def __init__(self, folder: Path, *, boot_id: str = "") -> None:
        """`boot_id` names this start of the machine; "" where it cannot be told."""
        self.path = folder / FILE
        self.previous_path = folder / f"{FILE}.previous"
        self.records: Records = {}
        self._boot_id = boot_id
        self._stamp: tuple[int, int, int] | None = None

    def held_devices(self) -> frozenset[str]:
        """Names of devices that claims hold."""
        return frozenset(device.name for record in self.records.values() for device in record.devices)

    def load(self) -> None:
        """Read the file; none at all is an empty record. Raises CheckpointDamaged, CheckpointError (it cannot be read,
        or a newer Fairlead wrote it)."""
        raw, stamp = self._read(self.path)
        if raw is None and not self.previous_path.exists():
            self.records, self._stamp = {}, None
            return
        try:
            if raw is None:
                raise CheckpointError(f"{self.path}: is gone, though {self.previous_path.name} is there")
            self.records, self._stamp = self._decode(raw, self.path), stamp
        except _NewerVersion:
            raise
        except CheckpointError as error:
            raise CheckpointDamaged(str(error), self._previous()) from error

    def refresh(self) -> None:
        """Read the file again if another instance wrote it. Raises as `load`."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            stamp = None
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be looked at: {error.strerror}") from error
        else:
            stamp = _stamp(found)
        if stamp != self._stamp:
            self.load()

    def save(self, records: Mapping[str, ClaimRecord], *, is_forced: bool = True) -> None:
        """Make this the record; `is_forced` waits for the disk. Raises CheckpointError, and then nothing has
        changed."""
        data = msgspec.json.encode(_Data(self._boot_id, list(records.values())))
        raw = msgspec.json.encode(_File(VERSION, _checksum(data), msgspec.Raw(data)))
        temporary = self.path.with_name(f".{FILE}.tmp")
        try:
            self._stamp = self._write(temporary, raw, is_forced)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise CheckpointError(
                f"{self.path}: cannot be written: {error.strerror}; nothing is prepared until it can"
            ) from error
        self.records = dict(records)

    def updated(self, put: Iterable[ClaimRecord] = (), remove: Iterable[str] = ()) -> dict[str, ClaimRecord]:
        """The records with some changed."""
        records = dict(self.records)
        for record in put:
            records[record.uid] = record
        for uid in remove:
            records.pop(uid, None)
        return records

    def force(self) -> None:
        """Wait until the disk has what was saved. What goes wrong is the next save's matter."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            _sync_folder(self.path.parent)

    def _write(self, temporary: Path, raw: bytes, is_forced: bool) -> tuple[int, int, int]:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            left = memoryview(raw)
            while left:
                left = left[os.write(descriptor, left) :]
            if is_forced:
                os.fsync(descriptor)
            stamp = _stamp(os.fstat(descriptor))
        finally:
            os.close(descriptor)
        self._keep_previous()
        os.replace(temporary, self.path)
        if is_forced:
            _sync_folder(self.path.parent)
        return stamp

    def _keep_previous(self) -> None:
        """Give the file that is there its second name. That both names are there until then is what matters."""
        link = self.previous_path.with_name(f".{self.previous_path.name}.tmp")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)
        try:
            os.link(self.path, link)
        except FileNotFoundError:
            return
        os.replace(link, self.previous_path)

    def _read(self, path: Path) -> tuple[bytes | None, tuple[int, int, int] | None]:
        try:
            with open(path, "rb") as file:
                return file.read(), _stamp(os.fstat(file.fileno()))
        except FileNotFoundError:
            return None, None
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error

    def _previous(self) -> Records | None:
        try:
            raw, _ = self._read(self.previous_path)
            return None if raw is None else self._decode(raw, self.previous_path)
        except CheckpointError:
            return None

    def _decode(self, raw: bytes, path: Path) -> Records:
        try:
            file = _FILE.decode(raw)
        except _UNREADABLE as error:
            raise CheckpointError(f"{path}: is no checkpoint: {error}") from error
        if file.version > VERSION:
            raise _NewerVersion(
                f"{path}: version {file.version} was written by a newer Fairlead; run that one, or drain the node and "
                f"remove the file"
            )
        if _checksum(bytes(file.data)) != file.checksum:
            raise CheckpointError(f"{path}: the checksum does not fit: the file was damaged after it was written")
        try:
            data = _DATA.decode(file.data)
        except _UNREADABLE as error:
            raise CheckpointError(f"{path}: {error}") from error
        is_other_boot = bool(self._boot_id and data.boot_id and data.boot_id != self._boot_id)
        return {claim.uid: _after_boot(claim) if is_other_boot else claim for claim in data.claims}


class _NewerVersion(CheckpointError):
    pass


def _after_boot(record: ClaimRecord) -> ClaimRecord:
    if record.phase != "prepared":
        return record
    return msgspec.structs.replace(record, phase="preparing")


def _checksum(data: bytes) -> str:
    return f"xxh3:{xxhash.xxh3_64_hexdigest(data)}"


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_mtime_ns, found.st_size


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
