"""The control loop: keys in, `reconcile(key)` until the world is as it should be.

A controller is level-triggered: it is told that something about a key changed, not what, and looks for itself. Errors
are retried with a delay that grows per key; a key is never reconciled twice at the same time.

    controller = Controller("web", reconcile, concurrency=4)
    controller.watch(informers.informer(WEBS))
    controller.owns(informers.informer(PODS), "Web")
    await run_controllers(informers, [controller])
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from fairlead.clock import SYSTEM, Clock
from fairlead.kube import metrics
from fairlead.kube.backoff import Backoff
from fairlead.kube.errors import ApiError, Conflict
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.rate_limit import RateLimit
from fairlead.kube.resources import ObjectKey, key_of, owners_of
from fairlead.kube.work_queue import QueueClosed, WorkQueue

T = TypeVar("T")
_LOG = logging.getLogger("fairlead.kube.controller")
DEFAULT_BACKOFF: Final = Backoff(first_s=0.1, max_s=60.0)


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconcile wishes beyond success: to be called again in `requeue_after_s`."""

    requeue_after_s: float


class Permanent(Exception):
    """Raised by a reconcile that no retry will help; the key rests until something changes."""


Reconcile = Callable[[ObjectKey], Awaitable[Result | None]]


class Controller:
    """One control loop over keys. Wire it to informers, then let `run_controllers` (`fairlead.kube.run`) run it."""

    def __init__(
        self,
        name: str,
        reconcile: Reconcile,
        *,
        concurrency: int = 1,
        backoff: Backoff = DEFAULT_BACKOFF,
        rate_limit: RateLimit | None = None,
        timeout_s: float = 120.0,
        grace_s: float = 10.0,
        clock: Clock = SYSTEM,
    ) -> None:
        """`timeout_s` bounds one reconcile; `grace_s` is what running ones get to end when the controller stops."""
        if concurrency < 1:
            raise ValueError(f"controller {name}: concurrency is {concurrency}, must be at least 1")
        self.name = name
        self.queue: WorkQueue[ObjectKey] = WorkQueue(backoff=backoff, clock=clock)
        self._reconcile = reconcile
        self._concurrency = concurrency
        self._rate_limit = rate_limit
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._clock = clock
        self._informers: list[Informer[Any]] = []
        metrics.QUEUE_DEPTH.labels(name).set_function(lambda: len(self.queue))

    def watch(
        self,
        informer: Informer[T],
        keys: Callable[[T], Iterable[ObjectKey]] | None = None,
        *,
        when: Callable[[T, T], bool] | None = None,
    ) -> Controller:
        """Reconcile on each change of an object: its own key, or those that `keys` gives for it.

        For an update, `keys` is asked about the old state too, so that who loses an object hears of it; `when` may
        sort out updates that do not matter, by the old and the new object.
        """
        of = keys or (lambda obj: (key_of(obj),))

        def updated(old: T, new: T) -> None:
            if when is not None and not when(old, new):
                return
            for key in dict.fromkeys([*of(old), *of(new)]):
                self.enqueue(key)

        def changed(obj: T) -> None:
            for key in of(obj):
                self.enqueue(key)

        self._informers.append(informer)
        informer.add_handler(Handler(changed, updated, changed))
        return self

    def owns(self, informer: Informer[T], owner_kind: str, *, owner_group: str | None = None) -> Controller:
        """Reconcile the controlling owner of each object that changes, where that is of `owner_kind`."""

        def owners(obj: T) -> Iterable[ObjectKey]:
            for owner in owners_of(obj):
                group = owner.api_version.rpartition("/")[0]
                if owner.controller and owner.kind == owner_kind and owner_group in (None, group):
                    yield ObjectKey(key_of(obj).namespace, owner.name)

        return self.watch(informer, owners)

    def enqueue(self, key: ObjectKey) -> None:
        before = self.queue.adds
        self.queue.add(key)
        if self.queue.adds != before:
            metrics.QUEUE_ADDS.labels(self.name).inc()

    def enqueue_after(self, key: ObjectKey, delay_s: float) -> None:
        self.queue.add_after(key, delay_s)

    async def run(self) -> None:
        """Work until cancelled. A cancelled controller lets running reconciles end, within `grace_s`."""
        for informer in self._informers:
            await informer.synced.wait()
        _LOG.info("%s: started", self.name)
        workers = [
            asyncio.create_task(self._work(), name=f"controller {self.name} {number}")
            for number in range(self._concurrency)
        ]
        try:
            # Not gather: it would cancel the workers with us, in the middle of what they do.
            await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.queue.close()
            await self._end(workers)
            _LOG.info("%s: stopped", self.name)

    async def _end(self, workers: list[asyncio.Task[None]]) -> None:
        try:
            await asyncio.wait(workers, timeout=self._grace_s)
        finally:
            for worker in workers:
                worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            try:
                taken = await self.queue.get()
            except QueueClosed:
                return
            metrics.QUEUE_WAIT_S.labels(self.name).observe(taken.waited_s)
            try:
                if self._rate_limit is not None:
                    await self._rate_limit.take()
                await self._reconcile_once(taken.key)
            finally:
                self.queue.done(taken.key)

    async def _reconcile_once(self, key: ObjectKey) -> None:
        started_s = self._clock.monotonic_s()
        outcome = "success"
        with metrics.ACTIVE_WORKERS.labels(self.name).track_inprogress():
            try:
                async with asyncio.timeout(self._timeout_s):
                    result = await self._reconcile(key)
            except Permanent as error:
                outcome = "permanent"
                self.queue.forget(key)
                _LOG.warning("%s %s: %s", self.name, key, error)
            except Exception as error:
                outcome = "error"
                self._retry(key, error)
            else:
                self.queue.forget(key)
                if result is not None:
                    outcome = "requeue_after"
                    self.queue.add_after(key, result.requeue_after_s)
        metrics.RECONCILES.labels(self.name, outcome).inc()
        metrics.RECONCILE_S.labels(self.name).observe(self._clock.monotonic_s() - started_s)

    def _retry(self, key: ObjectKey, error: Exception) -> None:
        delay_s = self.queue.add_failed(key)
        metrics.QUEUE_RETRIES.labels(self.name).inc()
        if isinstance(error, Conflict):
            # Someone else wrote first: the next round sees the new state.
            _LOG.debug("%s %s: %s; again in %.1f s", self.name, key, error, delay_s)
        else:
            told = f"{type(error).__name__}: {error}"
            _LOG.warning("%s %s: %s; again in %.1f s", self.name, key, told, delay_s, exc_info=not _is_expected(error))


def _is_expected(error: Exception) -> bool:
    """Whether an error says all there is to say, so that a traceback would only be noise."""
    return isinstance(error, ApiError | ConnectionError | TimeoutError)
