"""Group commit: one thread takes whatever writes have gathered and commits them as one transaction.

While a batch waits for its fsync, the event loop goes on deciding writes on top of it; they make the next batch. When a
batch fails, everything decided on top of it fails too: such writes carry the failed batch's epoch.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairlead.embedded.apiserver.store.database import Database
from fairlead.embedded.apiserver.store.record import Record

BATCH_LIMIT = 512


@dataclass(slots=True)
class Write:
    """A decided write. `epoch` counts the failures that the deciding loop had seen."""

    record: Record
    done: asyncio.Future[Record]
    epoch: int


Settled = Callable[[Sequence[Write], Exception | None], None]


class Writer:
    """The writing thread. `settled` is called on the event loop with each batch, in order, and with its error."""

    def __init__(self, database: Database, loop: asyncio.AbstractEventLoop, settled: Settled) -> None:
        self._database = database
        self._loop = loop
        self._settled = settled
        self._gathered: list[Write] = []
        self._chores: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._poisoned_epoch = -1
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Write) -> None:
        with self._changed:
            self._gathered.append(write)
            self._changed.notify()

    def submit_chore(self, chore: Callable[[], None]) -> None:
        """Run something on the writing thread between batches (compaction)."""
        with self._changed:
            self._chores.append(chore)
            self._changed.notify()

    def stop(self) -> None:
        """Commit what has gathered and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._gathered or self._chores or self._stopping):
                    self._changed.wait()
                batch, self._gathered = self._gathered[:BATCH_LIMIT], self._gathered[BATCH_LIMIT:]
                chores, self._chores = self._chores, []
                if not batch and not chores:
                    return
            if batch:
                self._commit(batch)
            for chore in chores:
                try:
                    chore()
                except sqlite3.Error:
                    # Compaction frees space and nothing else: what it leaves is swept at the next start.
                    continue

    def _commit(self, batch: list[Write]) -> None:
        sound = [write for write in batch if write.epoch > self._poisoned_epoch]
        doomed = [write for write in batch if write.epoch <= self._poisoned_epoch]
        if doomed:
            self._tell(doomed, sqlite3.OperationalError("an earlier write failed"))
        if not sound:
            return
        try:
            self._database.append(
                [(w.record.version, w.record.resource + w.record.name, int(w.record.deleted), w.record.value or b"")
                 for w in sound]
            )  # fmt: skip
        except sqlite3.Error as error:
            self._poisoned_epoch = sound[-1].epoch
            self._tell(sound, error)
        else:
            self._tell(sound, None)

    def _tell(self, batch: Sequence[Write], error: Exception | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settled, batch, error)
        except RuntimeError:
            # The loop is closed: nobody waits for the answer any more.
            return
