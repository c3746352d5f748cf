"""The prefix tree on disk: written every few seconds, read when the picker starts.

The event loop only draws the snapshot, a slice at a time; a thread turns it into bytes and writes them to a file beside
the old one, which it then replaces. A file that cannot be written or read costs a log line and nothing else: without it
the tree starts empty and learns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.prefix.snapshot import MAX_SNAPSHOT_BYTES, SLICE_NODES, Draft, SnapshotError, restore
from fairlead.gateway.prefix.tree import PrefixTree

PERIOD_S = 5.0

_log = logging.getLogger(__name__)


class PrefixFile:
    """One tree's file."""

    def __init__(
        self,
        tree: PrefixTree,
        path: Path,
        *,
        period_s: float = PERIOD_S,
        max_bytes: int = MAX_SNAPSHOT_BYTES,
        clock: Clock = SYSTEM,
    ) -> None:
        self._tree = tree
        self._path = path
        self._period_s = period_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._saved_tick = tree.tick
        self._failing = False
        self._saving = asyncio.Lock()

    def load(self) -> int:
        """Restore the tree from the file and count the prompts in it; 0 where there is none or it is of no use."""
        try:
            with self._path.open("rb") as file:
                data = file.read(2 * self._max_bytes + 1)
            if len(data) > 2 * self._max_bytes:
                raise SnapshotError(f"larger than {2 * self._max_bytes} bytes")
            count = restore(self._tree, data)
        except FileNotFoundError:
            return 0
        except (OSError, SnapshotError) as error:
            _log.warning("prefix index starts empty, %s is of no use: %s", self._path, error)
            return 0
        self._saved_tick = self._tree.tick
        return count

    async def keep(self) -> None:
        """Save the tree whenever it has changed, until cancelled."""
        while True:
            await self._clock.sleep(self._period_s)
            await self.save()

    async def save(self) -> bool:
        """Write what changed since the last time; False when that failed, which is logged once until it works again."""
        async with self._saving:
            return await self._save()

    async def _save(self) -> bool:
        tick = self._tree.tick
        if tick == self._saved_tick:
            return True
        draft = Draft(self._max_bytes)
        for _ in draft.draw(self._tree, SLICE_NODES):
            await asyncio.sleep(0)
        try:
            await asyncio.to_thread(self._write, draft)
        except OSError as error:
            if not self._failing:
                _log.warning("prefix index is not saved: %s; trying again every %g s", error, self._period_s)
            self._failing = True
            return False
        if self._failing:
            _log.info("prefix index is saved again to %s", self._path)
        self._failing = False
        self._saved_tick = tick
        return True

    def _write(self, draft: Draft) -> None:
        """Whole or not at all, even if the machine stops meanwhile. Raises OSError."""
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            with fresh.open("wb") as file:
                file.write(draft.encode())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise
