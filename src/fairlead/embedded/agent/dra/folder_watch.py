"""Tell when entries of folders come or go: one inotify instance for all folders of all nodes, or a slow look around
where the system has none."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent.shim.processes import libc

_CLOEXEC, _NONBLOCK = 0o2000000, 0o4000
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
_IGNORED, _OVERFLOW, _ONLYDIR = 0x8000, 0x4000, 0x01000000
_MASK = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_EVENT = struct.Struct("iIII")
_LOOK_S = 1.0


class FolderWatch:
    """`add` folders, then `run`. A callback is told that something changed, never what: it looks for itself."""

    def __init__(self, clock: Clock = SYSTEM, *, use_inotify: bool = True) -> None:
        self._clock = clock
        self._folders: dict[Path, Callable[[], None]] = {}
        self._watched: dict[int, Path] = {}
        self._lost: set[Path] = set()
        self._descriptor = _open() if use_inotify else -1

    def add(self, folder: Path, changed: Callable[[], None]) -> None:
        """Watch a folder, which is made if need be. Raises OSError where it cannot be made."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folders[folder] = changed
        self._watch(folder)

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        if self._descriptor >= 0:
            loop.add_reader(self._descriptor, self._read)
        try:
            while True:
                await self._clock.sleep(_LOOK_S)
                if self._descriptor < 0:
                    for changed in list(self._folders.values()):
                        changed()
                elif self._lost:
                    self._restore()
        finally:
            if self._descriptor >= 0:
                loop.remove_reader(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = -1

    def _watch(self, folder: Path) -> None:
        if self._descriptor < 0:
            return
        number = libc.inotify_add_watch(self._descriptor, os.fsencode(folder), ctypes.c_uint32(_MASK))
        if number < 0:
            self._lost.add(folder)
        else:
            self._lost.discard(folder)
            self._watched[number] = folder

    def _restore(self) -> None:
        """Folders that were deleted under us, or could not be watched, are looked at until a watch works again."""
        for folder in list(self._lost):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError:
                continue
            self._watch(folder)
            self._folders[folder]()

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return
        changed: set[Path] = set()
        position = 0
        while position < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, position)
            position += _EVENT.size + length
            if mask & _OVERFLOW:
                changed.update(self._folders)
                continue
            folder = self._watched.get(number)
            if folder is None:
                continue
            changed.add(folder)
            if mask & (_IGNORED | _DELETE_SELF | _MOVE_SELF):
                self._watched.pop(number, None)
                self._lost.add(folder)
        for folder in changed:
            self._folders[folder]()


def _open() -> int:
    try:
        return int(libc.inotify_init1(_CLOEXEC | _NONBLOCK))
    except AttributeError:
        return -1
