"""Probe a running container: startup first, then liveness and readiness, each on its own period and thresholds.

What follows from a result (restart, readiness in the status, Events) is the worker's business: it gets reports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import aiohttp

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent import handlers
from fairlead.embedded.agent.handlers import Execute, Outcome
from fairlead.embedded.agent.pod import ContainerSpec, Probe

Kind = Literal["startup", "liveness", "readiness"]


@dataclass(frozen=True, slots=True)
class Report:
    """One probe's result. `verdict` changes only at the thresholds; None while none is reached.

    `errored` says that the probe itself could not be made.
    """

    kind: Kind
    outcome: Outcome
    verdict: bool | None
    errored: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """What is probed. `started_at_s` is wall time: an adopted container's delays count from its own start."""

    container: ContainerSpec
    pod_ip: str
    started_at_s: float
    execute: Execute


class Prober:
    """Runs all probes of one container attempt until cancelled."""

    def __init__(
        self,
        target: Target,
        session: aiohttp.ClientSession,
        report: Callable[[Report], None],
        clock: Clock = SYSTEM,
    ) -> None:
        self._target = target
        self._session = session
        self._report = report
        self._clock = clock

    async def run(self, *, startup_passed: bool = False) -> None:
        container = self._target.container
        if container.startup_probe is not None and not startup_passed:
            await self._repeat("startup", container.startup_probe, until=True)
        async with asyncio.TaskGroup() as group:
            if container.liveness_probe is not None:
                group.create_task(self._repeat("liveness", container.liveness_probe))
            if container.readiness_probe is not None:
                group.create_task(self._repeat("readiness", container.readiness_probe))

    async def _repeat(self, kind: Kind, probe: Probe, *, until: bool | None = None) -> None:
        elapsed_s = self._clock.wall_s() - self._target.started_at_s
        await self._clock.sleep(max(0.0, probe.initial_delay_seconds - elapsed_s))
        last, run = None, 0
        while True:
            began_s = self._clock.monotonic_s()
            outcome, errored = await self._once(kind, probe)
            run = run + 1 if outcome.ok == last else 1
            last = outcome.ok
            threshold = probe.success_threshold if outcome.ok else probe.failure_threshold
            verdict = outcome.ok if run >= threshold and not errored else None
            self._report(Report(kind, outcome, verdict, errored))
            if verdict is not None and verdict == until:
                return
            if verdict is False and kind != "readiness":
                # The container is being ended: there is nothing left to probe.
                return
            took_s = self._clock.monotonic_s() - began_s
            await self._clock.sleep(max(0.0, probe.period_seconds - took_s))

    async def _once(self, kind: Kind, probe: Probe) -> tuple[Outcome, bool]:
        try:
            return await self._act(kind, probe), False
        except (ValueError, OSError) as error:
            return Outcome(False, str(error)), True

    def _act(self, kind: Kind, probe: Probe) -> Awaitable[Outcome]:
        target, timeout_s = self._target, float(probe.timeout_seconds)
        if probe.http_get is not None:
            return handlers.http_get(
                self._session, probe.http_get, target.container, target.pod_ip, timeout_s, "kube-probe/1.36"
            )
        if probe.tcp_socket is not None:
            return handlers.tcp_connect(probe.tcp_socket, target.container, target.pod_ip, timeout_s)
        if probe.grpc is not None:
            return handlers.grpc_health(probe.grpc, target.pod_ip, timeout_s)
        if probe.exec is not None:
            return handlers.run_command(target.execute, probe.exec.command, timeout_s)
        raise ValueError(f"missing probe handler for the {kind} probe of container {target.container.name}")
