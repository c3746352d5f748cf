"""Sends the requests of `render.warm_up` to engines that have just come up, beside the looks at services.

A warm-up is over within the service's `warmUp.timeoutSeconds` whatever the engine does, and its pod is then told to be
warm: it serves, and the condition and an Event say why it may be slow at first. One that was interrupted (the
controller was killed) is made again from the beginning, as its pod still waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import aiohttp

from fairlead.clock import SYSTEM, Clock, format_time
from fairlead.engines import HttpCall
from fairlead.engines.engine import DEFAULT_PORT
from fairlead.kube.backoff import Backoff
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, Conflict, Invalid, NotFound
from fairlead.kube.kinds import PODS
from fairlead.kube.objects import Pod
from fairlead.kube.resources import ObjectKey
from fairlead.kube.transport import Unreachable
from fairlead.serving.render.warm_up import started_at, warmed_up

_LOG = logging.getLogger("fairlead.serving.warm_up")

AT_ONCE: Final = 64
"""Engines that are being warmed up at the same time."""
RETRY_S: Final = 1.0
"""Between two attempts of a call that was not answered."""
_WRITE: Final = Backoff(first_s=1.0, max_s=60.0)
_SAID: Final = 300
"""Characters of an engine's refusal."""
_PODS = PODS.as_unstructured()

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Cold:
    """An engine that is to be warmed up: its pod, what to ask, and for how long in all, seconds."""

    pod: Pod
    calls: tuple[HttpCall, ...]
    timeout_s: float
    is_asked_for: bool = False
    """Whether a person wrote the prompts. An engine's own that is refused is no news: it may have no completions."""


class WarmUps:
    """Of all services."""

    def __init__(self, client: Client, clock: Clock = SYSTEM) -> None:
        self._client = client
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(AT_ONCE)
        # service -> uid of a pod and start of its engine -> what warms it up
        self._of: dict[ObjectKey, dict[tuple[str, str], asyncio.Task[None]]] = {}

    async def close(self) -> None:
        """Stop where it is."""
        tasks = [task for own in self._of.values() for task in own.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def follow(self, service: ObjectKey, cold: Sequence[Cold], tell: Tell) -> None:
        """The engines of a service that are to be warmed up, all of them. `tell` takes the message of an Event."""
        wanted = {(each.pod.metadata.uid, started_at(each.pod)): each for each in cold}
        own = self._of.setdefault(service, {})
        for key in [key for key in own if key not in wanted]:
            own.pop(key).cancel()
        for key, each in wanted.items():
            if key not in own:
                own[key] = asyncio.get_running_loop().create_task(self._warm(each, tell))
        if not own:
            del self._of[service]

    def forget(self, service: ObjectKey) -> None:
        """A service is gone."""
        self.follow(service, (), lambda message: None)

    async def _warm(self, cold: Cold, tell: Tell) -> None:
        pod, started = cold.pod, started_at(cold.pod)
        async with self._room:
            began_s = self._clock.monotonic_s()
            problem, is_refused = await self._answered(cold, began_s + cold.timeout_s)
            took_s = self._clock.monotonic_s() - began_s
        name = pod.metadata.name
        _LOG.info("%s: %s", name, problem or f"warmed up in {took_s:.1f} s")
        if problem and (cold.is_asked_for or not is_refused):
            tell(f"{name} serves without having been warmed up: {problem}")
        patch = warmed_up(started, format_time(self._clock.wall_s()), problem)
        # Meant for this very pod: one of the same name that came after it is cold.
        patch["metadata"] = {"uid": pod.metadata.uid}
        for times in count(1):
            try:
                await self._client.patch(
                    _PODS, name, patch, pod.metadata.namespace, kind="strategic", subresource="status"
                )
            except (NotFound, Conflict, Invalid) as error:
                _LOG.info("%s is another pod now: %s", name, error)
                return
            except (ApiError, Unreachable) as error:
                _LOG.warning("%s is warm, which cannot be written; tried again: %s", name, error)
                await self._clock.sleep(_WRITE.delay_s(times))
            else:
                return

    async def _answered(self, cold: Cold, end_s: float) -> tuple[str, bool]:
        """Why a call was not answered, empty when all were; and whether the engine has refused it."""
        for call in cold.calls:
            while True:
                left_s = end_s - self._clock.monotonic_s()
                problem, is_final = await self._ask(cold.pod, call, left_s)
                if not problem:
                    break
                if is_final:
                    return problem, True
                if end_s - self._clock.monotonic_s() <= RETRY_S:
                    return f"not within {cold.timeout_s:.0f} s (spec.warmUp.timeoutSeconds): {problem}", False
                await self._clock.sleep(RETRY_S)
        return "", False

    async def _ask(self, pod: Pod, call: HttpCall, timeout_s: float) -> tuple[str, bool]:
        """What went wrong, and whether asking again would change nothing."""
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False, connector=aiohttp.TCPConnector(limit=0))
        address = pod.status.pod_ip
        host = f"[{address}]" if ":" in address else address
        body: dict[str, Any] = {} if call.body is None else {"json": call.body}
        timeout = aiohttp.ClientTimeout(total=max(0.1, timeout_s))
        try:
            async with self._session.request(
                call.method, f"http://{host}:{DEFAULT_PORT}{call.path}", timeout=timeout, **body
            ) as answer:
                said = (await answer.read())[:_SAID].decode("utf-8", "replace").strip()
        except TimeoutError:
            return f"{call.path} was not answered", False
        except (aiohttp.ClientError, OSError) as error:
            return f"{call.path}: {error or type(error).__name__}", False
        if answer.status < 400:
            return "", False
        return f"{call.path} answered {answer.status}: {said}", answer.status < 500 and answer.status not in (408, 429)
