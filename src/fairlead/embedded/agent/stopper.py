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

_REVIEW_S = 0.25
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
        grace_s: Callable[[], float],
        hook_failed: Callable[[str], None],
    ) -> None:
        """Return when the container has ended.

        `grace_s` is asked again and again: a second deletion may shorten what is left. `hook_failed` hears of a preStop
        hook that failed.
        """
        began_s = self._clock.monotonic_s()

        def left_s() -> float:
            return grace_s() - (self._clock.monotonic_s() - began_s)

        ended = asyncio.ensure_future(self._runtime.wait(container))
        try:
            if spec.lifecycle.pre_stop is not None and left_s() > 0 and container.is_running:
                hook = asyncio.ensure_future(
                    run_hook(self._session, spec.lifecycle.pre_stop, spec, container, pod_ip, left_s(), self._clock)
                )
                try:
                    await _wait_for_any((hook, ended), left_s)
                    _judge(hook, hook_failed)
                finally:
                    hook.cancel()
            if grace_s() > 0 and not ended.done():
                self._runtime.signal(container, stop_signal(container))
                signalled_s = self._clock.monotonic_s()
                least_s = min(_MINIMUM_GRACE_S, grace_s())
                await _wait_for_any(
                    (ended,), lambda: max(left_s(), min(least_s, grace_s()) - (self._clock.monotonic_s() - signalled_s))
                )
            while not ended.done():
                self._runtime.kill(container)
                await asyncio.wait({ended}, timeout=1.0)
        finally:
            ended.cancel()


async def _wait_for_any(waited: tuple[asyncio.Future[Any], ...], left_s: Callable[[], float]) -> None:
    """Until one is done or no time is left, however that changes meanwhile."""
    while not any(future.done() for future in waited) and (left := left_s()) > 0:
        await asyncio.wait(waited, timeout=min(left, _REVIEW_S), return_when=asyncio.FIRST_COMPLETED)


def _judge(hook: asyncio.Future[Outcome], hook_failed: Callable[[str], None]) -> None:
    if not hook.done() or hook.cancelled():
        return
    error = hook.exception()
    outcome = Outcome(False, str(error)) if error is not None else hook.result()
    if not outcome.ok:
        hook_failed(outcome.output)


def stop_signal(container: Container) -> signal.Signals:
    """SIGTERM unless the container's lifecycle names another."""
    name = container.config.get("stop_signal") or "SIGTERM"
    return signal.Signals[name] if name in signal.Signals.__members__ else signal.SIGTERM
