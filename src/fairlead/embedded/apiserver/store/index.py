"""What the store holds of one resource in memory: the latest record of each name, in key order, and the retained
changes in version order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from sortedcontainers import SortedDict

from fairlead.embedded.apiserver.store.record import Record


class ResourceIndex:
    """Latest acknowledged records by name, and the changes since the last compaction."""

    def __init__(self) -> None:
        # name -> latest record, absent once deleted
        self._latest: SortedDict = SortedDict()
        self._changes: list[Record] = []
        self.version = 0
        """Version of the latest change; 0 before the first."""

    def __len__(self) -> int:
        return len(self._latest)

    def get(self, name: str) -> Record | None:
        record: Record | None = self._latest.get(name)
        return record

    def add(self, record: Record) -> None:
        """Take the next acknowledged change, in version order."""
        if record.deleted:
            self._latest.pop(record.name, None)
        else:
            self._latest[record.name] = record
        self._changes.append(record)
        self.version = record.version

    def forget(self, version: int) -> list[Record]:
        """Drop the changes up to `version` from the history and return them."""
        cut = bisect_right(self._changes, version, key=_version)
        gone, self._changes = self._changes[:cut], self._changes[cut:]
        return gone

    def changes_after(self, version: int) -> list[Record]:
        return self._changes[bisect_right(self._changes, version, key=_version) :]

    def latest(self, prefix: str, after: str = "") -> Iterator[Record]:
        """The latest records whose names start with `prefix` and follow `after`, in key order."""
        start = max(prefix, after)
        names = self._latest.irange(start, _end_of(prefix), inclusive=(start != after, False))
        return (self._latest[name] for name in names)

    def at(self, version: int, prefix: str, after: str = "") -> list[Record]:
        """The records that were the latest ones at `version`, in key order: the present with later changes undone."""
        # name -> its record at `version`, None where it did not exist
        undone: dict[str, Record | None] = {}
        for change in self.changes_after(version):
            name = change.name
            if name not in undone and name.startswith(prefix) and name > after:
                before = change.previous
                undone[name] = None if before is None or before.deleted else before
        if not undone:
            return list(self.latest(prefix, after))
        records = [record for record in self.latest(prefix, after) if record.name not in undone]
        records += [record for record in undone.values() if record is not None]
        records.sort(key=_name)
        return records


def _version(record: Record) -> int:
    return record.version


def _name(record: Record) -> str:
    return record.name


def _end_of(prefix: str) -> str | None:
    """The first string after all that start with `prefix`; None for no bound."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else None
