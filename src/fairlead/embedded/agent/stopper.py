"""End a container the graceful way: preStop hook, stop signal to its process group, grace period, SIGKILL."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import aiohttp

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent import handlers
from fairlead.embedded.agent.container import Container
from fairlead.embedded.agent.execution import execute
from fairlead.embedded.agent.handlers import Outcome
from fairlead.embedded.agent.pod import ContainerSpec, Handler
from fairlead.embedded.agent.runtime import ProcessRuntime

_MINIMUM_GRACE_S = 2.0
"""What a container gets after SIGTERM even if its preStop hook used up the grace period."""


async def run_hook(
    session: aiohttp.ClientSession,
    hook: Handler,
    spec: ContainerSpec,
    container: Container,
    pod_ip: str,
    timeout_s: float,
    clock: Clock = SYSTEM,
) -> Outcome:
    """Perform a lifecycle hook's action."""
    if hook.exec is not None:
        command = hook.exec.command
        return await handlers.run_command(lambda c, t: execute(container, c, t), command, timeout_s)
    if hook.http_get is not None:
        return await handlers.http_get(session, hook.http_get, spec, pod_ip, timeout_s, "kube-lifecycle/1.36")
    if hook.sleep is not None:
        await clock.sleep(min(float(hook.sleep.seconds), timeout_s))
        return Outcome(True, "")
    if hook.tcp_socket is not None:
        return await handlers.tcp_connect(hook.tcp_socket, spec, pod_ip, timeout_s)
    return Outcome(True, "")


class Stopper:
    def __init__(self, runtime: ProcessRuntime, session: aiohttp.ClientSession, clock: Clock = SYSTEM) -> None:
        self._runtime = runtime
        self._session = session
        self._clock = clock

    async def stop(
        self,
        spec: ContainerSpec,
        container: Container,
        pod_ip: str,
        grace_s: float,
        hook_failed: Callable[[str], None],
    ) -> None:
        """Return when the container has ended. `hook_failed` hears of a preStop hook that failed."""
        began_s = self._clock.monotonic_s()
        ended = asyncio.ensure_future(self._runtime.wait(container))
        try:
            if spec.lifecycle.pre_stop is not None and grace_s > 0 and container.is_running:
                await self._pre_stop(spec, container, pod_ip, grace_s, ended, hook_failed)
            left_s = grace_s - (self._clock.monotonic_s() - began_s)
            if grace_s > 0 and not ended.done():
                self._runtime.signal(container, stop_signal(container))
                await asyncio.wait({ended}, timeout=max(left_s, min(_MINIMUM_GRACE_S, grace_s)))
            while not ended.done():
                self._runtime.kill(container)
                await asyncio.wait({ended}, timeout=1.0)
        finally:
            ended.cancel()

    async def _pre_stop(
        self,
        spec: ContainerSpec,
        container: Container,
        pod_ip: str,
        grace_s: float,
        ended: asyncio.Future[None],
        hook_failed: Callable[[str], None],
    ) -> None:
        hook = spec.lifecycle.pre_stop
        assert hook is not None
        running = asyncio.ensure_future(run_hook(self._session, hook, spec, container, pod_ip, grace_s, self._clock))
        try:
            both: set[asyncio.Future[Any]] = {running, ended}
            await asyncio.wait(both, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            if running.done() and not running.cancelled():
                error = running.exception()
                outcome = Outcome(False, str(error)) if error is not None else running.result()
                if not outcome.ok:
                    hook_failed(outcome.output)
        finally:
            running.cancel()


def stop_signal(container: Container) -> signal.Signals:
    """SIGTERM unless the container's lifecycle names another."""
    name = container.config.get("stop_signal") or "SIGTERM"
    return signal.Signals[name] if name in signal.Signals.__members__ else signal.SIGTERM
