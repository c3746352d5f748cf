"""Starting and finding an `up`: checks before anything starts, the detached form, and waiting for the result."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.supervisor.component import FAIRLEAD, Devices, Ports
from fairlead.embedded.supervisor.process import end
from fairlead.embedded.supervisor.state import UpState, lock, read_state
from fairlead.embedded.supervisor.supervisor import Supervisor, stop_leftovers

MIN_FREE_BYTES = 64 * 1024 * 1024
READY_TIMEOUT_S = 60.0
DOWN_TIMEOUT_S = 120.0


class CannotStart(Exception):
    """One sentence that says why nothing was started, and what to do."""


def choose_ports(data: Path, api: int, gateway: int) -> Ports:
    """The ports to use: those asked for, or for 0 the ones this folder used before, or free ones.

    Raises CannotStart naming the port that somebody else has.
    """
    before = read_state(data)
    chosen = []
    for name, port, earlier in (
        ("--api-port", api, before.ports.api if before else 0),
        ("--gateway-port", gateway, before.ports.gateway if before else 0),
    ):
        if port == 0:
            port = earlier if earlier and _bindable(earlier) is None else free_port()
        problem = _bindable(port)
        if problem:
            raise CannotStart(f"port {port} ({name}) cannot be used: {problem}; choose another with {name}")
        chosen.append(port)
    if chosen[0] == chosen[1]:
        raise CannotStart(f"--api-port and --gateway-port are both {chosen[0]}; choose two ports")
    return Ports(api=chosen[0], gateway=chosen[1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def check_folder(data: Path) -> None:
    """Raises CannotStart when the data folder cannot be written or its disk is full."""
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = data / f".write-test-{os.getpid()}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        raise CannotStart(
            f"the data folder {data} cannot be written: {error.strerror}; choose another with --data"
        ) from error
    free = shutil.disk_usage(data).free
    if free < MIN_FREE_BYTES:
        raise CannotStart(
            f"the disk of {data} has {free // 2**20} MiB left; free at least {MIN_FREE_BYTES // 2**20} MiB or choose "
            "another folder with --data"
        )


async def run_foreground(
    data: Path, ports: Ports, nodes: str, on_ready: Callable[[UpState], None], devices: Devices | None = None
) -> UpState:
    """Supervise in this process until SIGINT or SIGTERM; returns the last state. Raises state.AlreadyRunning."""
    held = lock(data)
    try:
        await _clear_leftovers(data)
        supervisor = Supervisor(data, ports, nodes, devices)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, supervisor.stop)
        announcer = asyncio.create_task(_announce(supervisor, on_ready))
        await supervisor.run()
        announcer.cancel()
        return supervisor.state
    finally:
        held.close()


def detach(data: Path, ports: Ports, nodes: str, devices: str = "") -> subprocess.Popen[bytes]:
    """Start the supervisor in a session of its own; its output goes to logs/supervisor.log. `devices` as for `up`."""
    (data / "logs").mkdir(parents=True, exist_ok=True)
    with open(data / "logs" / "supervisor.log", "ab") as log:
        return subprocess.Popen(
            [*FAIRLEAD, "supervise", "--data", str(data), "--api-port", str(ports.api),
             "--gateway-port", str(ports.gateway), "--nodes", nodes, *(("--devices", devices) if devices else ())],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def wait_until_ready(
    data: Path, supervisor: subprocess.Popen[bytes], on_change: Callable[[UpState], None], clock: Clock = SYSTEM,
    timeout_s: float = READY_TIMEOUT_S,
) -> UpState:  # fmt: skip
    """Follow the state file until the platform is ready. Raises CannotStart when it fails or takes too long."""

    async def follow() -> UpState:
        deadline_s = clock.monotonic_s() + timeout_s
        state = None
        while clock.monotonic_s() < deadline_s:
            ended = supervisor.poll() is not None
            found = read_state(data)
            # What an earlier supervisor of this folder wrote says nothing about this one.
            state = found if found is not None and found.supervisor.pid == supervisor.pid else None
            if state is not None:
                on_change(state)
                if state.phase == "ready":
                    return state
            if ended:
                raise CannotStart(state.message if state and state.message else _last_words(data))
            await clock.sleep(0.03)
        waiting = state.message if state else "the supervisor to start"
        raise CannotStart(f"not ready after {timeout_s:.0f} s, still waiting for {waiting}; see {data}/logs")

    return asyncio.run(follow())


def _last_words(data: Path) -> str:
    lines = (data / "logs" / "supervisor.log").read_text(errors="replace").split("\n")
    said = next((line for line in reversed(lines) if line.strip()), "no output")
    return f"the supervisor ended: {said}; see {data}/logs"


def down(data: Path, clock: Clock = SYSTEM) -> bool:
    """Stop everything of this folder. True if something ran; returns only when all processes have ended."""
    state = read_state(data)
    if state is None:
        return False

    async def stop() -> bool:
        was_alive = state.alive()
        state.supervisor.signal(signal.SIGTERM)
        deadline_s = clock.monotonic_s() + DOWN_TIMEOUT_S
        while state.alive():
            if clock.monotonic_s() > deadline_s:
                state.supervisor.signal(signal.SIGKILL)
            await clock.sleep(0.02)
        leftovers = any(c.process is not None and c.process.alive() for c in state.components)
        if not was_alive or leftovers:
            await stop_leftovers(data, state)
        return was_alive or leftovers

    return asyncio.run(stop())


async def _clear_leftovers(data: Path) -> None:
    # The supervisor of an earlier `up` was killed: its components got SIGTERM with it, but may still be stopping.
    before = read_state(data)
    if before is None or before.alive():
        return
    await end([c.process for c in before.components if c.process is not None])


async def _announce(supervisor: Supervisor, on_ready: Callable[[UpState], None]) -> None:
    while supervisor.state.phase == "starting":
        await SYSTEM.sleep(0.05)
    if supervisor.state.phase == "ready":
        on_ready(supervisor.state)


def _bindable(port: int) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return None
        except OSError as error:
            return "it is in use" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
        except OverflowError:
            return "a port is a number from 0 to 65535"
