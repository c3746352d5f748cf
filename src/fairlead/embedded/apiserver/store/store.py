"""The multi-version store.

Writes are decided on the event loop, on the newest state (acknowledged or not), and acknowledged once they are durable;
reads see acknowledged state only. Because deciding and submitting happen without a pause in between, there is no
lost update and no retry: whoever calls `write` right after `newest` has decided on the newest version.

Versions are one counter over all resources. Retained history is bounded by number of changes and by superseded bytes;
what falls out is compacted, and reading from before it raises `Compacted`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from fairlead.embedded.apiserver.store.database import Database, FolderLock
from fairlead.embedded.apiserver.store.index import ResourceIndex
from fairlead.embedded.apiserver.store.record import Record
from fairlead.embedded.apiserver.store.snapshot import Snapshot
from fairlead.embedded.apiserver.store.subscription import Subscription
from fairlead.embedded.apiserver.store.writer import Write, Writer

HISTORY_CHANGES = 20_000
"""Changes that stay watchable. At a storm of 1,000 writes/s that is 20 s, far more than a reconnecting watcher needs;
in quiet times it is hours."""
MEMORY_BYTES = 12 << 20
"""Bytes of recent values kept in memory for watchers and readers."""
WATCHER_BACKLOG = 8_192


class Compacted(Exception):
    """The asked version is older than the retained history."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {asked} ({oldest})")
        self.asked = asked
        self.oldest = oldest


class FutureVersion(Exception):
    """The asked version does not exist yet."""

    def __init__(self, asked: int, current: int) -> None:
        super().__init__(f"Too large resource version: {asked}, current: {current}")
        self.asked = asked
        self.current = current


class WriteFailed(Exception):
    """The write is not stored: the message says why (a full disk, an I/O error)."""


class Store:
    """All objects. Every method belongs to the event loop's thread. `open` before use, `close` at the end."""

    def __init__(
        self, folder: Path, *, history_changes: int = HISTORY_CHANGES, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self._folder = folder
        self._history_changes = history_changes
        self._memory_bytes = memory_bytes
        self._lock = FolderLock(folder)
        try:
            self._database = Database(folder / "store.db")
        except sqlite3.Error as error:
            self._lock.release()
            raise WriteFailed(f"the store {folder / 'store.db'} cannot be opened: {error}") from error
        self._writer: Writer | None = None
        # resource -> index
        self._indexes: dict[str, ResourceIndex] = {}
        # (resource, name) -> newest record that is not acknowledged yet
        self._pending: dict[tuple[str, str], Record] = {}
        self._history: deque[Record] = deque()
        # Records whose value is in memory, oldest first.
        self._recent: deque[Record] = deque()
        self._recent_bytes = 0
        # version -> number of readers that need everything from this version on
        self._pins: dict[int, int] = {}
        self._subscriptions: dict[str, set[Subscription]] = {}
        # (version, who waits until it is acknowledged)
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._epoch = 0
        self._load()

    def _load(self) -> None:
        self._compacted = self._database.fact("compacted")
        obsolete: list[int] = []
        newest: dict[str, Record] = {}
        version = self._compacted
        for version, key, deleted in self._database.load():
            resource, name = split_key(key)
            previous = newest.get(key)
            record = Record(resource, name, version, bool(deleted), _absent(previous), None, previous)
            if version <= self._compacted:
                if record.previous is not None:
                    obsolete.append(record.previous.version)
                    record.previous = None
                if deleted:
                    obsolete.append(version)
            newest[key] = record
            self.index(resource).add(record)
            self._history.append(record)
        self._version = self._next = max(version, self._compacted)
        self._forget_until(self._compacted)
        self._swept = obsolete

    @property
    def version(self) -> int:
        """The newest acknowledged version."""
        return self._version

    @property
    def oldest(self) -> int:
        """History before this version is gone."""
        return self._compacted

    def start(self) -> None:
        """Start the writing thread. Needs the running event loop."""
        self._writer = Writer(self._database, asyncio.get_running_loop(), self._settle)
        if self._swept:
            swept, self._swept = self._swept, []
            self._writer.submit_chore(lambda: self._database.compact(self._compacted, swept))

    def end_subscriptions(self) -> None:
        for subscriptions in list(self._subscriptions.values()):
            for subscription in list(subscriptions):
                subscription.close()

    def close(self) -> None:
        """Commit what was submitted, end all subscriptions and free the folder."""
        if self._writer is not None:
            self._writer.stop()
        self.end_subscriptions()
        self._database.close()
        self._lock.release()

    # reading

    def index(self, resource: str) -> ResourceIndex:
        found = self._indexes.get(resource)
        if found is None:
            found = self._indexes[resource] = ResourceIndex()
        return found

    def resources(self) -> Sequence[str]:
        """The resources that hold at least one object."""
        return [resource for resource, index in self._indexes.items() if len(index)]

    def count(self, resource: str) -> int:
        return len(self.index(resource))

    def get(self, resource: str, name: str) -> Record | None:
        """The latest acknowledged record; None where there is none."""
        return self.index(resource).get(name)

    def newest(self, resource: str, name: str) -> Record | None:
        """The newest record, acknowledged or not, for deciding a write; None where the object does not exist."""
        pending = self._pending.get((resource, name))
        if pending is not None:
            return None if pending.deleted else pending
        return self.index(resource).get(name)

    def value(self, record: Record) -> bytes:
        """A record's value. Raises Compacted where it is gone."""
        if record.value is not None:
            return record.value
        value = self._database.value(record.version)
        if value is None:
            raise Compacted(record.version, self._compacted)
        return value

    def values(self, records: Sequence[Record]) -> list[bytes]:
        """The values of many records, in their order. Raises Compacted where one is gone."""
        absent = [record.version for record in records if record.value is None]
        found = self._database.values(absent) if absent else {}
        try:
            return [found[record.version] if record.value is None else record.value for record in records]
        except KeyError as error:
            raise Compacted(int(error.args[0]), self._compacted) from None

    def snapshot(self, resource: str, prefix: str = "", *, version: int = 0, after: str = "") -> Snapshot:
        """The objects whose names start with `prefix` and follow `after`, at `version` (0: now).

        Raises Compacted and FutureVersion.
        """
        if version in (0, self._version):
            return Snapshot(self._version, list(self.index(resource).latest(prefix, after)))
        if version > self._version:
            raise FutureVersion(version, self._version)
        if version < self._compacted:
            raise Compacted(version, self._compacted)
        return Snapshot(version, self.index(resource).at(version, prefix, after))

    def subscribe(self, resource: str, version: int) -> Subscription:
        """All changes of a resource after `version`. Raises Compacted and FutureVersion."""
        if version > self._version:
            raise FutureVersion(version, self._version)
        if version < self._compacted:
            raise Compacted(version, self._compacted)
        backlog = self.index(resource).changes_after(version)
        subscriptions = self._subscriptions.setdefault(resource, set())
        subscription = Subscription(backlog, lambda: self._version, subscriptions.discard, WATCHER_BACKLOG)
        subscriptions.add(subscription)
        return subscription

    def watchers(self, resource: str) -> int:
        """How many subscriptions a resource has."""
        return len(self._subscriptions.get(resource, ()))

    def pin(self, version: int) -> Callable[[], None]:
        """Keep what is readable at `version` readable until the returned function is called."""
        self._pins[version] = self._pins.get(version, 0) + 1

        def unpin() -> None:
            self._pins[version] -= 1
            if not self._pins[version]:
                del self._pins[version]

        return unpin

    # writing

    def next_version(self) -> int:
        """The version that the next `write` gets, to be put into its value."""
        return self._next + 1

    def write(self, resource: str, name: str, value: bytes, *, deleted: bool = False) -> asyncio.Future[Record]:
        """Store a version of an object (or its deletion); the future is done when it is durable and visible.

        `value` carries `next_version()`; nothing may be awaited between the decision and this call.
        Raises WriteFailed, from here or from the future.
        """
        if self._writer is None:
            raise WriteFailed("the store is not open for writing")
        self._next += 1
        key = (resource, name)
        previous = self._pending.get(key) or self.index(resource).get(name)
        record = Record(resource, name, self._next, deleted, _absent(previous), value, previous)
        self._pending[key] = record
        done: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
        self._writer.submit(Write(record, done, self._epoch))
        return done

    async def acknowledged(self, version: int | None = None) -> None:
        """Return once everything up to `version` (by default, everything submitted) is acknowledged or has failed:
        reads then show what it was decided on."""
        version = self._next if version is None else version
        if version > self._version and self._pending:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((version, waiter))
            await waiter

    def _release(self, version: int) -> None:
        """Let those go on who wait for a version up to this one."""
        waiting: list[tuple[int, asyncio.Future[None]]] = []
        for wanted, waiter in self._waiters:
            if wanted > version:
                waiting.append((wanted, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self._waiters = waiting

    def _settle(self, batch: Sequence[Write], error: Exception | None) -> None:
        if error is not None:
            self._fail(batch, error)
            return
        touched: set[Subscription] = set()
        for write in batch:
            record = write.record
            self._publish(record)
            for subscription in self._subscriptions.get(record.resource, ()):
                subscription.push(record)
                touched.add(subscription)
            if not write.done.done():
                write.done.set_result(record)
        for subscription in touched:
            subscription.wake()
        if self._waiters:
            self._release(self._version if self._pending else self._next)
        self._forget_values()
        if len(self._history) > self._history_changes * 5 // 4:
            self._compact(self._history[len(self._history) - self._history_changes].version - 1)

    def _publish(self, record: Record) -> None:
        self.index(record.resource).add(record)
        self._history.append(record)
        self._recent.append(record)
        self._recent_bytes += len(record.value or b"")
        self._version = record.version
        key = (record.resource, record.name)
        if self._pending.get(key) is record:
            del self._pending[key]

    def _fail(self, batch: Sequence[Write], error: Exception) -> None:
        # Everything that is pending was decided on top of the failed batch or belongs to it.
        self._epoch += 1
        self._pending.clear()
        self._release(self._next)
        reason = f"the write is not stored in {self._folder}: {error}"
        for write in batch:
            if not write.done.done():
                write.done.set_exception(WriteFailed(reason))
                # The writer's caller may be gone (a cancelled request).
                write.done.exception()

    # bounds

    def _forget_values(self) -> None:
        while self._recent_bytes > self._memory_bytes:
            record = self._recent.popleft()
            self._recent_bytes -= len(record.value or b"")
            record.value = None

    def compact(self, version: int) -> None:
        """Give up the history before `version` (also done by itself, when the bound is reached)."""
        self._compact(min(version, self._version))

    def _compact(self, version: int) -> None:
        version = min([version, *self._pins])
        if version <= self._compacted:
            return
        self._compacted = version
        obsolete = self._forget_until(version)
        if self._writer is not None:
            self._writer.submit_chore(lambda: self._database.compact(version, obsolete))

    def _forget_until(self, version: int) -> list[int]:
        """Take the changes up to `version` out of the history; returns the versions that nobody can read any more."""
        obsolete: list[int] = []
        touched: set[str] = set()
        while self._history and self._history[0].version <= version:
            record = self._history.popleft()
            touched.add(record.resource)
            if record.previous is not None:
                obsolete.append(record.previous.version)
                record.previous = None
            if record.deleted:
                obsolete.append(record.version)
        for resource in touched:
            self._indexes[resource].forget(version)
        return obsolete


def _absent(record: Record | None) -> bool:
    return record is None or record.deleted


def split_key(key: str) -> tuple[str, str]:
    """`/group/resource/rest` as resource (`/group/resource/`) and name (`rest`)."""
    cut = key.index("/", key.index("/", 1) + 1) + 1
    return key[:cut], key[cut:]
