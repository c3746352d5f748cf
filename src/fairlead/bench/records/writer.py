"""The records of a run being written: appended to a spool while requests are timed, made into Parquet when that can
disturb nothing any more."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from fairlead.bench.record import Record
from fairlead.bench.records.parquet import write_parquet
from fairlead.bench.records.spool import Spool, read_spool

SPOOL = "records.spool"
PARQUET = "records.parquet"
KEPT = 512
"""Records to gather before they are written: a system call for some hundred of them."""


class RecordWriter:
    """Of one run, into `folder` (made, with what is above it). Raises nothing: `problem` says what went wrong, and
    `lost` how many records are not on disk for it; figures do not depend on them. `part` names the files where several
    writers share a folder."""

    def __init__(self, folder: Path, part: str = "") -> None:
        self._folder, self._part = folder, part
        self._waiting: list[Record] = []
        self._spool: Spool | None = None
        self.written = self.lost = 0
        self.problem: str | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._spool = Spool(self._path(SPOOL))
        except OSError as error:
            self._fail(error)

    def add(self, records: Sequence[Record]) -> None:
        """Keep them; written with the next flush."""
        self._waiting.extend(records)
        if len(self._waiting) >= KEPT:
            self.flush()

    def flush(self) -> None:
        """What has been added is on disk afterwards, and outlives this process. Call it every second or so."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if self._spool is None:
            self.lost += len(waiting)
            return
        try:
            self._spool.append(waiting)
            self.written += len(waiting)
        except OSError as error:
            self._fail(error)
            self.lost += len(waiting)

    def close(self) -> str | None:
        """Turn the spool into Parquet; returns the problem, if there was one at any time. What cannot be turned stays a
        spool, which can be read as well."""
        self.flush()
        spool = self._path(SPOOL)
        if self._spool is not None:
            with contextlib.suppress(OSError):
                self._spool.close()
            self._spool = None
        if not spool.exists():
            return self.problem
        try:
            write_parquet(self._path(PARQUET), read_spool(spool))
            spool.unlink()
        except OSError as error:
            self._fail(error)
        return self.problem

    def _path(self, name: str) -> Path:
        return self._folder / (f"{self._part}-{name}" if self._part else name)

    def _fail(self, error: OSError) -> None:
        """Once: nothing more is written to a disk that is full, but what is there stays."""
        if self._spool is not None:
            with contextlib.suppress(OSError):
                self._spool.close()
            self._spool = None
        if self.problem is None:
            where = error.filename or self._folder
            self.problem = (
                f"records are not kept in {where}: {error.strerror or error}: make room there, or give another folder"
            )
