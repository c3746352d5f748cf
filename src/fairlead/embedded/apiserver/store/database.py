"""The SQLite file below the store: one append-only table of versions.

Durability: WAL with `synchronous=FULL`, so a committed batch survives `kill -9` and loss of power. A batch of versions
is written by one multi-row INSERT, which is one transaction and one call into SQLite: the interpreter lock is released
once for it, including the fsync, instead of once per row.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

Row = tuple[int, str, int, bytes]
"""Version, key, deleted (0 or 1), value."""

ROWS_PER_INSERT = 128
"""A statement is prepared once per batch size and cached; larger batches are split inside one transaction."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
    version INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    value BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class DataFolderLocked(Exception):
    """Another API server serves this data folder."""


class FolderLock:
    """An exclusive lock on a data folder, held until `release` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file: IO[str] = open(folder / "lock", "a+")  # noqa: SIM115  held for the life of the store
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip()
            self._file.close()
            by = f" by process {holder}" if holder else ""
            raise DataFolderLocked(f"the data folder {folder} is already in use{by}") from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        self._file.close()


class Database:
    """Two connections to one file: one for the writer thread, one for reads from the event loop's thread."""

    def __init__(self, path: Path) -> None:
        self._writer = _connect(path)
        self._writer.executescript(_SCHEMA)
        self._reader = _connect(path)
        self._reader.execute("PRAGMA query_only=ON")

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def load(self) -> Iterator[tuple[int, str, int]]:
        """Version, key and deleted of every row, in the order of versions."""
        return iter(self._reader.execute("SELECT version, key, deleted FROM rows ORDER BY version"))

    def fact(self, name: str) -> int:
        row = self._reader.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def value(self, version: int) -> bytes | None:
        """The value of a version; None where it is compacted. For the reading thread."""
        row = self._reader.execute("SELECT value FROM rows WHERE version = ?", (version,)).fetchone()
        return row[0] if row else None

    def values(self, versions: Sequence[int]) -> dict[int, bytes]:
        """The values of many versions (version -> value). For the reading thread."""
        found: dict[int, bytes] = {}
        for start in range(0, len(versions), 256):
            some = versions[start : start + 256]
            marks = ",".join("?" * len(some))
            found.update(self._reader.execute(f"SELECT version, value FROM rows WHERE version IN ({marks})", some))
        return found

    def append(self, rows: Sequence[Row]) -> None:
        """Write the rows durably in one transaction. For the writing thread. Raises sqlite3.Error; nothing is then
        written."""
        if len(rows) <= ROWS_PER_INSERT:
            self._insert(rows)
            return
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            for start in range(0, len(rows), ROWS_PER_INSERT):
                self._insert(rows[start : start + ROWS_PER_INSERT])
            self._writer.execute("COMMIT")
        except sqlite3.Error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _insert(self, rows: Sequence[Row]) -> None:
        marks = ",".join(["(?,?,?,?)"] * len(rows))
        self._writer.execute(
            f"INSERT INTO rows (version, key, deleted, value) VALUES {marks}", [cell for row in rows for cell in row]
        )

    def compact(self, version: int, obsolete: Iterable[int]) -> None:
        """Forget the obsolete versions and remember that history before `version` is gone. For the writing thread."""
        obsolete = list(obsolete)
        # The promise first: rows that outlive a crash in between are swept at the next start.
        self._writer.execute("INSERT OR REPLACE INTO facts (name, value) VALUES ('compacted', ?)", (version,))
        for start in range(0, len(obsolete), 512):
            some = obsolete[start : start + 512]
            marks = ",".join("?" * len(some))
            self._writer.execute(f"DELETE FROM rows WHERE version IN ({marks})", some)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cache_size=-4096")
    connection.execute("PRAGMA wal_autocheckpoint=2000")
    connection.execute("PRAGMA busy_timeout=5000")
    return connection
