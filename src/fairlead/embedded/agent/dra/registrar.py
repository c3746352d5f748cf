"""Register the plugins whose sockets appear in a node's `plugins_registry`, as the kubelet's plugin manager does.

A socket is asked who it is (GetInfo), the driver is taken in, and the plugin is told (NotifyRegistrationStatus). One
that cannot be used is told why and tried again later, with back-off. A socket that goes, or is another one under the
same name, ends the registration. What a killed driver leaves behind is a socket nobody listens at: it stays registered,
so that its claims wait for it, until the driver comes back with a new socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket as sockets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent.dra.plugins import Plugin, Plugins
from fairlead.embedded.agent.dra.services import MAX_SOCKET_PATH_BYTES, RegistrationError, choose

if TYPE_CHECKING:
    from fairlead.embedded.agent.dra.connection import Observe

_FIRST_RETRY_S, _LAST_RETRY_S = 0.1, 10.0
_LOOK_AGAIN_S = 1.0
_log = logging.getLogger(__name__)

_Identity = tuple[int, int, int]
"""Device, inode and modification time (ns) of a socket file: another one under the same name differs, even where the
inode is used again; a change of its mode makes no difference."""


class Registrar:
    """One node's. `look` whenever the folder may have changed; `stop` at the end."""

    def __init__(
        self,
        folder: Path,
        plugins: Plugins,
        *,
        serve: Callable[[Plugin], asyncio.Task[None]],
        report: Callable[[str], None],
        observe: Observe,
        clock: Clock = SYSTEM,
    ) -> None:
        """`serve` begins what accompanies a registered plugin; `report` tells people of a plugin that is refused."""
        self._folder = folder
        self._plugins = plugins
        self._serve = serve
        self._report = report
        self._observe = observe
        self._clock = clock
        self._known: dict[str, tuple[_Identity, asyncio.Task[None]]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None

    def look(self) -> None:
        try:
            present = _sockets(self._folder)
        except OSError as error:
            # Such as too many open files: no reason to let go of drivers.
            _log.warning("%s cannot be looked through, trying again: %s", self._folder, error)
            self._stop_looking()
            self._again = asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self.look)
            return
        for path, (identity, task) in list(self._known.items()):
            if present.get(path) != identity:
                del self._known[path]
                task.cancel()
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
        for path, identity in present.items():
            if path not in self._known:
                # A new instance at the same endpoint must not meet the registration of the one before.
                before = tuple(self._ending)
                task = asyncio.create_task(self._keep(path, before), name=f"plugin at {path}")
                self._known[path] = (identity, task)

    async def stop(self) -> None:
        self._stop_looking()
        tasks = [task for _, task in self._known.values()] + list(self._ending)
        self._known.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stop_looking(self) -> None:
        if self._again is not None:
            self._again.cancel()

    async def _keep(self, path: str, before: tuple[asyncio.Task[None], ...]) -> None:
        """Register, and stay registered until cancelled."""
        await asyncio.gather(*before, return_exceptions=True)
        delay_s, told = _FIRST_RETRY_S, ""
        while True:
            try:
                plugin = await self._register(path)
                break
            except RegistrationError as error:
                if str(error) != told:
                    told = str(error)
                    self._report(told)
            except (OSError, TimeoutError) as error:
                _log.debug("plugin at %s: nobody answers: %s", path, error)
            await self._clock.sleep(delay_s)
            delay_s = min(2 * delay_s, _LAST_RETRY_S)
        _log.info("driver %s is registered (%s at %s)", plugin.driver, plugin.chosen.dra, plugin.chosen.endpoint)
        beside = self._serve(plugin)
        try:
            await asyncio.Event().wait()
        finally:
            self._plugins.remove(plugin)
            _log.info("driver %s at %s is no longer registered", plugin.driver, plugin.chosen.endpoint)
            beside.cancel()
            closing = asyncio.ensure_future(plugin.connection.close())
            self._ending.add(closing)
            closing.add_done_callback(self._ending.discard)

    async def _register(self, path: str) -> Plugin:
        """Raises RegistrationError, OSError (nobody listens)."""
        if len(path.encode()) > MAX_SOCKET_PATH_BYTES:
            raise RegistrationError(f"registration socket {path} has a path of more than {MAX_SOCKET_PATH_BYTES} bytes")
        _try_connect(path)
        # Nobody pays for gRPC whose node has no drivers, and nobody waits while it is loaded.
        await asyncio.to_thread(_load_grpc)
        from fairlead.embedded.agent.dra import connection

        try:
            info = await connection.get_info(path)
        except connection.CallError as error:
            raise RegistrationError(str(error)) from error
        plugin: Plugin | None = None
        try:
            chosen = choose(info, path)
            plugin = Plugin(chosen, connection.Connection(chosen, self._observe, self._clock))
            self._plugins.add(plugin)
        except RegistrationError as error:
            if plugin is not None:
                await plugin.connection.close()
            await self._refuse(path, str(error))
            raise
        try:
            await connection.notify(path)
        except BaseException as error:
            self._plugins.remove(plugin)
            await plugin.connection.close()
            if isinstance(error, connection.CallError):
                raise RegistrationError(str(error)) from error
            raise
        return plugin

    async def _refuse(self, path: str, why: str) -> None:
        from fairlead.embedded.agent.dra import connection

        try:
            await connection.notify(path, why)
        except connection.CallError as error:
            _log.warning("plugin at %s was not told that it is refused: %s", path, error)


def _sockets(folder: Path) -> dict[str, _Identity]:
    """Path -> identity of the sockets in a folder; hidden files are none of ours. Raises OSError."""
    found: dict[str, _Identity] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                # Gone by now, or a link that leads nowhere.
                with contextlib.suppress(OSError):
                    status = entry.stat()
                    if stat.S_ISSOCK(status.st_mode):
                        found[entry.path] = (status.st_dev, status.st_ino, status.st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return found


def _try_connect(path: str) -> None:
    """Raises OSError where nobody listens."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            # Its queue is full: someone is there, and slow.
            return


def _load_grpc() -> None:
    from fairlead.embedded.agent.dra import connection  # noqa: F401
