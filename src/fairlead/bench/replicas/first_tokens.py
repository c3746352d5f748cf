"""When an engine that is new serves its first token, by its own page of metrics: what it has generated grows.

What it generated before it was ready, as to warm up, does not count. Where its page cannot be reached from here, or
says nothing of tokens, nothing is said either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fairlead.bench.server_side.page import Address, Page
from fairlead.bench.server_side.reading import Reader, engine_reader
from fairlead.clock import SYSTEM
from fairlead.engines.detection import engine_of
from fairlead.kube.objects import Pod

EVERY_S, WITHIN_S = 0.2, 1.0
GIVES_UP_S = 300.0
"""After it was ready: an engine that nobody asks for so long is not waited for."""
AT_ONCE = 64
"""Engines that are looked at at a time."""
SIGNALS = ("generation_tokens_total", "succeeded_requests_total")


def page_of(pod: Pod) -> Address | None:
    """Of its first port, or the one that is named `http`; None while it has no address, or where it names no port."""
    ports = [port for container in pod.spec.containers for port in container.ports]
    named = next((port for port in ports if port.name == "http"), ports[0] if ports else None)
    if named is None or not pod.status.pod_ip:
        return None
    return Address(pod.status.pod_ip, named.container_port, "/metrics")


class FirstTokens:
    """Looks at engines in tasks of its own, until each has served, or `close`."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._free = asyncio.Semaphore(AT_ONCE)

    def follow(self, uid: str, address: Address, is_ready: Callable[[], bool], served: Callable[[float], None]) -> None:
        """Once for each `uid`. `served` is called with a reading of the monotonic clock, once at most."""
        if uid not in self._tasks:
            self._tasks[uid] = asyncio.create_task(self._look(address, is_ready, served))

    def forget(self, uid: str) -> None:
        """It is gone; the same is not looked at again."""
        if (task := self._tasks.get(uid)) is not None:
            task.cancel()

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _look(self, address: Address, is_ready: Callable[[], bool], served: Callable[[float], None]) -> None:
        async with self._free:
            page = Page(address)
            try:
                at_s = await _first(page, is_ready)
            finally:
                page.close()
        if at_s is not None:
            served(at_s)


async def _first(page: Page, is_ready: Callable[[], bool]) -> float | None:
    reader: Reader | None = None
    before: float | None = None
    ready_s: float | None = None
    while ready_s is None or SYSTEM.monotonic_s() < ready_s + GIVES_UP_S:
        was_ready = is_ready()
        if was_ready and ready_s is None:
            ready_s = SYSTEM.monotonic_s()
        look = await page.look(WITHIN_S)
        if isinstance(look.outcome, bytes):
            reader = reader or _reader(look.outcome)
            count = _count(reader, look.outcome)
            if count is not None:
                if was_ready and before is not None and count > before:
                    return look.at_s
                before = count
        await SYSTEM.sleep(EVERY_S)
    return None


def _reader(page: bytes) -> Reader | None:
    engine = engine_of(page)
    return None if engine is None else engine_reader(engine)


def _count(reader: Reader | None, page: bytes) -> float | None:
    """Tokens, or else requests, that it has been through."""
    if reader is None:
        return None
    values = reader(page, False).values
    return next((values[name] for name in SIGNALS if name in values), None)
