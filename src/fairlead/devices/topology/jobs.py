"""Topology requests, answered later: gathered, run one after another, kept for a while.

A request's id is the hash of what it asks. The same request again within `delay_s` starts the wait anew, so that a
burst (one per node that joins) costs one discovery; asked again later, it is a new run under the old id. At most
`most_waiting` requests wait or run, at most `most_kept` answers are kept, each for `keep_s`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.topology.label_values import fnv64a

R = TypeVar("R")

_log = logging.getLogger(__name__)

OK, PENDING, NOT_FOUND = 200, 202, 404


@dataclass(frozen=True, slots=True)
class JobSettings:
    delay_s: float = 15.0
    most_waiting: int = 64
    most_kept: int = 100
    keep_s: float = 3600.0
    attempts: int = 5
    first_backoff_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP status, and the result or a sentence."""

    status: int
    body: bytes


@dataclass(slots=True)
class _Entry:
    answer: Answer
    since_s: float
    is_over: bool = False


class QueueFull(Exception):
    """Too many requests wait."""


class Jobs(Generic[R]):
    """`perform` does one request and answers; a status that may go better later is tried again with growing
    pauses."""

    def __init__(
        self, perform: Callable[[R], Awaitable[Answer]], settings: JobSettings | None = None, clock: Clock = SYSTEM
    ) -> None:
        self.settings = settings or JobSettings()
        self._perform = perform
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    @property
    def pending(self) -> int:
        return len(self._waiting) + len(self._running)

    def submit(self, request: R, identifier: str) -> str:
        """Take a request and return its id. Raises QueueFull."""
        old = self._waiting.pop(identifier, None)
        if old is not None:
            old.cancel()
        elif self.pending >= self.settings.most_waiting:
            raise QueueFull(f"{self.pending} requests wait already; try again later")
        entry = _Entry(Answer(PENDING, f"request ID {identifier} has been created".encode()), self._clock.monotonic_s())
        self._entries[identifier] = entry
        self._entries.move_to_end(identifier)
        self._waiting[identifier] = asyncio.create_task(self._wait(request, identifier, entry))
        self._forget()
        return identifier

    def answer(self, identifier: str) -> Answer:
        self._forget()
        entry = self._entries.get(identifier)
        if entry is None:
            return Answer(NOT_FOUND, f"request ID {identifier} not found".encode())
        return entry.answer

    async def close(self) -> None:
        """End what waits and runs."""
        tasks = [*self._waiting.values(), *self._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self, request: R, identifier: str, entry: _Entry) -> None:
        await self._clock.sleep(self.settings.delay_s)
        task = self._waiting.pop(identifier)
        self._running.add(task)
        try:
            async with self._turn:
                entry.answer = await self._attempts(request)
        except Exception as error:
            # Whatever went wrong, who asks gets an answer and does not wait for ever.
            _log.exception("topology request %s failed", identifier)
            entry.answer = Answer(500, f"the request failed in an unforeseen way: {error!r}".encode())
        finally:
            self._running.discard(task)
        entry.is_over = True
        entry.since_s = self._clock.monotonic_s()

    async def _attempts(self, request: R) -> Answer:
        pause_s = self.settings.first_backoff_s
        for _ in range(self.settings.attempts - 1):
            answer = await self._perform(request)
            if answer.status not in (408, 429, 500, 502, 503, 504):
                return answer
            await self._clock.sleep(pause_s)
            pause_s *= 2
        return await self._perform(request)

    def _forget(self) -> None:
        now_s = self._clock.monotonic_s()
        done = [key for key, entry in self._entries.items() if entry.is_over]
        old = [key for key in done if now_s - self._entries[key].since_s > self.settings.keep_s]
        surplus = len(self._entries) - self.settings.most_kept
        for key in {*old, *done[: max(0, surplus)]}:
            del self._entries[key]


def identifier_of(
    provider: str, provider_params: Mapping[str, Any], engine: str, engine_params: Mapping[str, Any], nodes: Any
) -> str:
    """FNV-64a in hexadecimal over what is asked, credentials left out."""
    asked = {"provider": [provider, provider_params], "engine": [engine, engine_params], "nodes": nodes}
    return f"{fnv64a(msgspec.json.encode(asked, order='deterministic')):x}"
