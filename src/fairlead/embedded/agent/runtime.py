"""The process runtime: start, watch, signal and remove containers, each a process group under its own shim."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import fairlead
from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent import cgroups
from fairlead.embedded.agent.container import MARK, Container, load
from fairlead.embedded.agent.shim import hooks, processes
from fairlead.embedded.agent.shim.main import write_durably

START_TIMEOUT_S = 20.0
_KEPT_ATTEMPTS = 2
_SOURCE_ROOT = str(Path(fairlead.__file__).resolve().parent.parent)


class StartError(Exception):
    """The container's program could not be started; the message says why."""


def shim_command(module: str, *arguments: str) -> list[str]:
    """The command line of a shim program, free of site packages so that it starts in milliseconds."""
    code = (
        f"import sys; sys.path.insert(0, {_SOURCE_ROOT!r}); "
        f"from fairlead.embedded.agent.shim.{module} import main; main()"
    )
    return [sys.executable, "-I", "-S", "-c", code, *arguments]


class ProcessRuntime:
    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._shims: dict[int, subprocess.Popen[bytes]] = {}

    async def start(self, folder: Path, config: dict[str, Any]) -> Container:
        """Start a container in its new folder. Raises StartError, OSError (disk)."""
        container = await asyncio.to_thread(self._start, folder, config)
        if container.exit is not None and container.exit.start_error is not None:
            raise StartError(container.exit.start_error)
        return container

    async def wait(self, container: Container) -> None:
        """Return once the container's shim is gone and `container.exit` is known."""
        if container.exit is not None:
            # It ended before it was seen to run: nobody has tidied up after it yet.
            await asyncio.to_thread(self._conclude, container)
        while container.exit is None:
            if container.shim_pid == 0 and container.is_shim_alive():
                # A shim that a former agent had just begun has yet to say which processes are its own.
                await self._clock.sleep(0.05)
                container.refresh()
                continue
            await self._wait_shim(container)
            await asyncio.to_thread(self._conclude, container)

    def signal(self, container: Container, number: signal.Signals) -> None:
        """Send a signal to the container's process group, if it still is that group."""
        if container.is_program_alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(container.pid, number)

    def kill(self, container: Container) -> None:
        """End every process of the container at once. The shim then records the exit."""
        self.signal(container, signal.SIGKILL)

    def remove(self, container: Container) -> None:
        """Delete an ended container's folder."""
        shutil.rmtree(container.folder, ignore_errors=True)

    def prune(self, attempts: list[Container]) -> list[Container]:
        """Keep the newest attempts (current and previous) and delete the others."""
        for container in attempts[:-_KEPT_ATTEMPTS]:
            self.remove(container)
        return attempts[-_KEPT_ATTEMPTS:]

    def _start(self, folder: Path, config: dict[str, Any]) -> Container:
        scratch = folder / "mnt"
        scratch.mkdir(parents=True, exist_ok=True)
        config["scratch"], config["folder"] = str(scratch), str(folder)
        write_durably(str(folder / "config.json"), config)
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            with open(folder / "shim.log", "ab") as log:
                shim = subprocess.Popen(
                    shim_command("main", str(folder), str(write)),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[write],
                    start_new_session=True,
                    env={"PATH": os.environ.get("PATH", ""), MARK: config["meta"]["id"]},
                )
            os.close(write)
            write = -1
            self._shims[shim.pid] = shim
            _await_acknowledgement(read, shim, START_TIMEOUT_S + hooks.limit_s(config))
        finally:
            os.close(read)
            if write >= 0:
                os.close(write)
        container = load(folder)
        assert container is not None
        if container.pid == 0 and container.exit is None:
            # The shim says "started" only after it has written state.json; without it, it failed itself.
            shim.wait(START_TIMEOUT_S)
            container.refresh()
            if container.exit is None:
                _run_poststop_hooks(container)
                container.record_lost(self._clock.wall_s())
        if container.exit is not None and container.exit.start_error is not None:
            cgroups.remove(config.get("cgroup"))
        return container

    async def _wait_shim(self, container: Container) -> None:
        shim_pid = container.shim_pid
        try:
            descriptor = os.pidfd_open(shim_pid)
        except (OSError, AttributeError):
            await self._poll_shim(container)
            return
        try:
            if processes.start_ticks(shim_pid) != container.shim_start_ticks:
                return
            loop = asyncio.get_running_loop()
            gone: asyncio.Future[None] = loop.create_future()
            loop.add_reader(descriptor, _resolve, gone)
            try:
                await gone
            finally:
                loop.remove_reader(descriptor)
        finally:
            os.close(descriptor)

    async def _poll_shim(self, container: Container) -> None:
        # Without pidfds (old kernels, other systems) the shim's end is looked for.
        while container.is_shim_alive():
            await self._clock.sleep(0.2)

    def _conclude(self, container: Container) -> None:
        shim = self._shims.pop(container.shim_pid, None)
        if shim is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                shim.wait(5)
        container.refresh()
        if container.exit is None and not container.is_shim_alive():
            self._sweep(container)
            _run_poststop_hooks(container)
            container.record_lost(self._clock.wall_s())
        if container.exit is not None:
            self._sweep(container)
            cgroups.remove(container.config.get("cgroup"))
            _unlink(container)

    def _sweep(self, container: Container) -> None:
        """Kill what a killed shim left behind, and programs that `exec` started in the container."""
        cgroups.kill(container.config.get("cgroup"))
        for _ in range(20):
            left = processes.marked_with(f"{MARK}={container.id}".encode())
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)


def _await_acknowledgement(read: int, shim: subprocess.Popen[bytes], timeout_s: float) -> None:
    # Not select(): an agent of many nodes has more descriptors than that can name.
    answered = select.poll()
    answered.register(read, select.POLLIN)
    if not answered.poll(timeout_s * 1000):
        shim.kill()
        raise StartError(f"the container's shim did not start within {timeout_s:g} s")
    answer = os.read(read, 8192)
    if answer and json.loads(answer)["error"]:
        shim.wait(timeout_s)


def _run_poststop_hooks(container: Container) -> None:
    """In place of a shim that was killed; what fails is in the container's `shim.log`."""
    if not (container.config.get("hooks") or {}).get("poststop"):
        return
    command = shim_command("poststop", str(container.folder))
    with open(container.folder / "shim.log", "ab") as log, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, stdout=log, stderr=log, timeout=START_TIMEOUT_S + hooks.limit_s(container.config))


def _unlink(container: Container) -> None:
    """Remove the links that stood in for mounts, unless they are someone else's by now."""
    for source, target in container.config.get("links") or ():
        with contextlib.suppress(OSError):
            if os.readlink(target) == source:
                os.unlink(target)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
