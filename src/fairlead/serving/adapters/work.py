"""What is done at engines beside the reconciles: loads, and unloads once the last request has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.backoff import Backoff
from fairlead.kube.resources import ObjectKey
from fairlead.serving.adapters.delivery import Delivery, Refused, Waiting
from fairlead.serving.adapters.engine_calls import CallFailed, EngineCalls
from fairlead.serving.adapters.engines_seen import Failure, SeenEngine
from fairlead.serving.adapters.versions import AdapterVersion

_LOG = logging.getLogger("fairlead.serving.adapters")

SETTLE_S: Final = 1.0
"""How long every picker has to hear that a pod has an adapter no more, before it is believed that nobody comes."""
POLL_S: Final = 0.5
AT_ONCE: Final = 16
"""Calls to engines at the same time."""
_RETRY: Final = Backoff(first_s=1.0, max_s=60.0)


class EngineWork:
    """Runs in the background of a controller; `done` is called with the service whenever something has changed."""

    def __init__(
        self, calls: EngineCalls, delivery: Delivery, done: Callable[[ObjectKey], None], clock: Clock = SYSTEM
    ) -> None:
        self._calls = calls
        self._delivery = delivery
        self._done = done
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        """Stop where it is: what engines have is looked up by whoever comes next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def load(self, service: ObjectKey, engine: SeenEngine, name: str, version: AdapterVersion) -> None:
        """Load a version under a name, unless that is under way or failed just now."""
        failed = engine.failed.get(name)
        if name in engine.loading or (failed is not None and self._clock.monotonic_s() < failed.again_s):
            return
        engine.loading.add(name)
        self._start(self._load(service, engine, name, version), f"load {name} on {engine.name}")

    def retire(self, service: ObjectKey, engine: SeenEngine, name: str, limit_s: float) -> None:
        """Unload it once its requests have ended, or after the limit. From now on it gets no new ones."""
        if name not in engine.retiring:
            engine.retiring.add(name)
            self._start(self._unload(service, engine, name, limit_s), f"unload {name} from {engine.name}")

    def keep(self, engine: SeenEngine, name: str) -> None:
        """It is wanted there after all; too late once the engine was told."""
        if name not in engine.unloading:
            engine.retiring.discard(name)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, service: ObjectKey, engine: SeenEngine, name: str, version: AdapterVersion) -> None:
        failure = "it was stopped"
        again_s: float | None = None
        is_wait = False
        try:
            async with self._room:
                delivered = await self._delivery.deliver(engine, version)
                if isinstance(delivered, Waiting):
                    failure, again_s, is_wait = delivered.message, delivered.again_s, not delivered.is_failure
                elif isinstance(delivered, Refused):
                    failure = delivered.message
                else:
                    outcome = await self._calls.load(engine.at, name, delivered.path)
                    failure = "" if outcome.holds else outcome.reason
        except CallFailed as error:
            failure = str(error)
        except Exception:
            _LOG.exception("loading %s on %s", name, engine.name)
            failure = "it failed; the controller's log says more"
        finally:
            engine.loading.discard(name)
        self._loaded(engine, name, failure, again_s, is_wait)
        self._done(service)

    def _loaded(self, engine: SeenEngine, name: str, failure: str, again_s: float | None, is_wait: bool) -> None:
        now_s = self._clock.monotonic_s()
        if not failure:
            engine.failed.pop(name, None)
            engine.loaded[name] = now_s
            engine.changes += 1
            _LOG.info("%s has loaded %s", engine.name, name)
            return
        before = engine.failed.get(name)
        times = 1 if before is None or again_s is not None else before.times + 1
        delay_s = _RETRY.delay_s(times) if again_s is None else again_s
        engine.failed[name] = Failure(times, failure, now_s + delay_s, is_wait)
        if again_s is None:
            _LOG.warning("%s: %s was not loaded: %s", engine.name, name, failure)

    async def _unload(self, service: ObjectKey, engine: SeenEngine, name: str, limit_s: float) -> None:
        began_s = self._clock.monotonic_s()
        # The pod has to say so before the pickers can know.
        self._done(service)
        await self._clock.sleep(SETTLE_S)
        while name in engine.retiring and name in engine.loaded:
            left_s = began_s + limit_s - self._clock.monotonic_s()
            try:
                if left_s > 0 and await self._is_in_use(engine, name):
                    await self._clock.sleep(min(POLL_S, left_s))
                    continue
                if name not in engine.retiring:
                    break
                engine.unloading.add(name)
                outcome = await self._calls.unload(engine.at, name)
            except CallFailed as error:
                _LOG.info("%s is not unloaded: %s", name, error)
                if left_s <= 0:
                    break
                await self._clock.sleep(min(POLL_S * 4, left_s))
                continue
            if outcome.holds:
                engine.loaded.pop(name, None)
                engine.changes += 1
                _LOG.info("%s has unloaded %s", engine.name, name)
            else:
                _LOG.warning("%s: %s was not unloaded: %s", engine.name, name, outcome.reason)
            break
        engine.retiring.discard(name)
        engine.unloading.discard(name)
        self._done(service)

    async def _is_in_use(self, engine: SeenEngine, name: str) -> bool:
        """Whether requests with it run or wait, as the engine says; where it says nothing they may."""
        used = await self._calls.in_use(engine.at)
        return used is None or name in used
