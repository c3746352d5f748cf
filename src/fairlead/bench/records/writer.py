"""The records of a run being written: appended to a spool while requests are timed. It is made into Parquet when that
can disturb nothing any more (`conversion`)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from fairlead.bench.record import Record
from fairlead.bench.records.spool import SPOOL, Spool, named

KEPT = 512
"""Records to gather before they are written: a system call for some hundred of them."""


class RecordWriter:
    """Of one run, into `folder` (made, with what is above it). Raises nothing: `problem` says what went wrong, and
    `lost` how many records are not on disk for it; figures do not depend on them. `part` names the files where several
    writers share a folder."""

    def __init__(self, folder: Path, part: str = "") -> None:
        self.folder, self.part = folder, part
        self._waiting: list[Record] = []
        self._spool: Spool | None = None
        self.written = self.lost = 0
        self.problem: str | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._spool = Spool(folder / named(SPOOL, part))
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

    def end(self) -> str | None:
        """Nothing is added any more; returns the problem, if there was one at any time."""
        self.flush()
        if self._spool is not None:
            with contextlib.suppress(OSError):
                self._spool.close()
            self._spool = None
        return self.problem

    def close(self) -> str | None:
        """`end`, and turn the spool into Parquet here: for whom the time and memory of that matter to nobody."""
        from fairlead.bench.records.conversion import converted

        problems = [self.end(), converted(self.folder, self.part)]
        return next((problem for problem in problems if problem is not None), None)

    def _fail(self, error: OSError) -> None:
        """Once: nothing more is written to a disk that is full, but what is there stays."""
        if self._spool is not None:
            with contextlib.suppress(OSError):
                self._spool.close()
            self._spool = None
        if self.problem is None:
            where = error.filename or self.folder
            self.problem = (
                f"records are not kept in {where}: {error.strerror or error}: make room there, or give another folder"
            )
