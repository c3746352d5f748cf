"""The supervisor: starts every component, restarts what ends with back-off, and stops all in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent.addresses import AddressError, reserve_range
from fairlead.embedded.supervisor.component import Component, Devices, Ports, components, stop_pods_command
from fairlead.embedded.supervisor.process import die_with_parent, end, identify
from fairlead.embedded.supervisor.readiness import check
from fairlead.embedded.supervisor.state import RunningComponent, UpState, write_state

RESTART_DELAYS_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Wait before restart n in a row: the first is at once, a component that keeps ending is not a busy loop."""

STABLE_AFTER_S = 5.0
"""A component that ran this long starts the row of delays anew."""

LOG_LIMIT_BYTES = 20 * 1024 * 1024
"""A component's log is put aside as `.1` at start when it is longer."""

_DNS_HOST = 10
"""The last octet, as of the Service kube-dns elsewhere."""

STOP_PODS_TIMEOUT_S = 60.0


class Supervisor:
    """Runs until `stop` is called or, before it was ever ready, a component ends for good.

    The state file tells others (`status`, `down`, a second `up`) what runs.
    """

    def __init__(
        self, data: Path, ports: Ports, nodes: str, devices: Devices | None = None, clock: Clock = SYSTEM
    ) -> None:
        self.data = data
        self.ports = ports
        self._clock = clock
        self._devices = devices
        self._components = components(data, ports, nodes, devices, _reserve_dns(data))
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._started_s = clock.monotonic_s()
        self.state = UpState(
            supervisor=identify(os.getpid()),
            ports=ports,
            nodes=nodes,
            started_at_s=clock.wall_s(),
            components=[RunningComponent(c.name) for c in self._components],
            devices=devices.asked if devices is not None else "",
        )

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Start everything, wait for `stop`, stop everything. Never leaves a process behind."""
        (self.data / "logs").mkdir(exist_ok=True)
        self._write()
        keepers = [
            asyncio.create_task(self._keep(c, running, first=n == 0)) for n, (c, running) in enumerate(self._pairs())
        ]
        readiness = asyncio.create_task(self._watch_readiness())
        try:
            await self._stopping.wait()
        finally:
            self._stopping.set()
            readiness.cancel()
            if self.state.phase != "failed":
                self.state.phase = "stopping"
                self._write()
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, readiness, return_exceptions=True)
            await self._stop_all()

    def _pairs(self) -> list[tuple[Component, RunningComponent]]:
        return list(zip(self._components, self.state.components, strict=True))

    async def _keep(self, component: Component, running: RunningComponent, *, first: bool) -> None:
        failures = 0
        while not first and not self._is_api_known():
            # The API server writes the kubeconfig before it listens; everything else reads it once, as it starts.
            await self._clock.sleep(0.02)
        while True:
            began_s = self._clock.monotonic_s()
            process = await self._start(component, running)
            code = await process.wait()
            running.last_exit = _describe_exit(code)
            running.process = None
            running.restarts += 1
            stable = self._clock.monotonic_s() - began_s >= STABLE_AFTER_S
            failures = 0 if stable else failures + 1
            self._write()
            if self.state.phase == "starting" and failures >= 3:
                self._fail(component, running)
            await self._clock.sleep(RESTART_DELAYS_S[min(max(failures - 1, 0), len(RESTART_DELAYS_S) - 1)])

    def _is_api_known(self) -> bool:
        """Whether the kubeconfig names this run's port; one of an earlier run may have another."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.data / "kubeconfig").read_text().splitlines()
            return any(line.strip() == f"server: https://127.0.0.1:{self.ports.api}" for line in lines)
        return False

    async def _start(self, component: Component, running: RunningComponent) -> asyncio.subprocess.Process:
        log = self._open_log(component.name)
        try:
            process = await asyncio.create_subprocess_exec(
                *component.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **component.env},
                cwd=self.data,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        finally:
            os.close(log)
        self._processes[component.name] = process
        running.process = identify(process.pid)
        self._write()
        return process

    def _open_log(self, name: str) -> int:
        path = self.data / "logs" / f"{name}.log"
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > LOG_LIMIT_BYTES:
                path.replace(path.with_suffix(".log.1"))
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _fail(self, component: Component, running: RunningComponent) -> None:
        # A component that cannot start at all (port in use, locked data) says why in its log: repeat that sentence.
        log = self.data / "logs" / f"{component.name}.log"
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        self.state.phase = "failed"
        self.state.message = f"{component.name} {running.last_exit}: {lines[-1] if lines else 'no output'}"
        self._write()
        self._stopping.set()

    async def _watch_readiness(self) -> None:
        delay_s = 0.05
        while True:
            readiness = await asyncio.to_thread(check, self.data, self.ports, self._devices)
            if readiness.ready:
                self.state.phase = "ready"
                self.state.message = ""
                self.state.ready_after_s = round(self._clock.monotonic_s() - self._started_s, 3)
                self._write()
                return
            if readiness.waiting_for != self.state.message:
                self.state.message = readiness.waiting_for
                self._write()
            await self._clock.sleep(delay_s)

    async def _stop_all(self) -> None:
        for component in reversed(self._components):
            if component.name == "agent":
                await self._stop_one(component)
                await self._stop_pods()
            else:
                await self._stop_one(component)
            self._write()

    async def _stop_one(self, component: Component) -> None:
        process = self._processes.get(component.name)
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), component.stop_grace_s)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _stop_pods(self) -> None:
        await stop_pods(self.data)

    def _write(self) -> None:
        # A full disk must not keep the supervisor from supervising: the state file is for others to read.
        with contextlib.suppress(OSError):
            write_state(self.data, self.state)


def _reserve_dns(data: Path) -> str:
    """The address of this platform's cluster DNS, the same at each start; empty where none is left."""
    folder = data / "dns"
    try:
        folder.mkdir(exist_ok=True)
        return f"{reserve_range(folder)}.{_DNS_HOST}"
    except (OSError, AddressError):
        return ""


async def stop_pods(data: Path) -> None:
    """End every pod process of this data folder; bounded in time."""
    process = await asyncio.create_subprocess_exec(
        *stop_pods_command(data), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        await asyncio.wait_for(process.wait(), STOP_PODS_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()


async def stop_leftovers(data: Path, state: UpState) -> None:
    """What `down` does after the supervisor itself was killed: end the processes that its state file names."""
    await end([c.process for c in state.components if c.process is not None])
    await stop_pods(data)


def _describe_exit(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
