"""Cache events of engines that must be asked for them (TensorRT-LLM): each is asked again and again.

An engine that does not answer is asked less often. Numbers that do not follow one another tell of lost events.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import aiohttp

from fairlead.clock import SYSTEM, Clock
from fairlead.engines.kv_events import KvEventBatch, KvEventError
from fairlead.engines.kv_events_http import POLL, HttpKvEvent, decode_answer
from fairlead.gateway.prefix.event_stream import EventSink, StreamCounts

PERIOD_S = 0.5
MAX_PERIOD_S = 15.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_TIMEOUT = aiohttp.ClientTimeout(total=10)


class HttpEventPoller:
    """One for a gateway; belongs to the running event loop."""

    def __init__(
        self, session: aiohttp.ClientSession, sink: EventSink, *, period_s: float = PERIOD_S, clock: Clock = SYSTEM
    ) -> None:
        self._session = session
        self._sink = sink
        self._period_s = period_s
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.counts = StreamCounts()

    @property
    def followed(self) -> list[str]:
        return list(self._tasks)

    def follow(self, address: str) -> None:
        """Ask an endpoint (`host:port`) from now on."""
        if address not in self._tasks:
            self._tasks[address] = asyncio.get_running_loop().create_task(self._ask_on(address))

    def unfollow(self, address: str) -> None:
        """Ask it no more, and forget what its events said."""
        task = self._tasks.pop(address, None)
        if task is not None:
            task.cancel()
            self._sink.forget(address)

    def follow_all(self, addresses: Iterable[str]) -> None:
        """Follow exactly these."""
        wanted = set(addresses)
        for address in [address for address in self._tasks if address not in wanted]:
            self.unfollow(address)
        for address in wanted:
            self.follow(address)

    async def close(self) -> None:
        """End all asking; the index keeps what it has."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _ask_on(self, address: str) -> None:
        last: dict[int, int] = {}  # rank -> number of its last event
        failures = 0
        while True:
            try:
                self._take(address, last, await self._ask(address))
                failures = 0
            except (aiohttp.ClientError, OSError, TimeoutError):
                self.counts.disconnects += not failures
                if last:
                    # Whether it is the same engine that answers next, nobody says.
                    for rank in last:
                        self._sink.restarted(address, rank)
                    last.clear()
                failures += 1
            except KvEventError:
                self.counts.malformed += 1
                for rank in last:
                    self._sink.clear(address, rank)
                failures += 1
            await self._clock.sleep(min(MAX_PERIOD_S, self._period_s * 2 ** min(failures, 10)))

    async def _ask(self, address: str) -> list[HttpKvEvent]:
        async with self._session.request(
            POLL.method, f"http://{address}{POLL.path}", timeout=_TIMEOUT, allow_redirects=False
        ) as response:
            response.raise_for_status()
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > MAX_ANSWER_BYTES:
                    raise KvEventError(f"events of over {MAX_ANSWER_BYTES} bytes")
        return decode_answer(bytes(answer))

    def _take(self, address: str, last: dict[int, int], events: list[HttpKvEvent]) -> None:
        for event in events:
            rank = event.data_parallel_rank or 0
            before = last.get(rank)
            self.counts.messages += 1
            if before is None:
                self._sink.joined(address, rank, complete=event.event_id == 0)
            elif event.event_id <= before:
                self.counts.restarts += 1
                self._sink.restarted(address, rank)
                self._sink.joined(address, rank, complete=event.event_id == 0)
            elif event.event_id > before + 1:
                self.counts.lost += event.event_id - before - 1
                self._sink.clear(address, rank)
                self._sink.joined(address, rank, complete=False)
            last[rank] = event.event_id
            self._sink.ingest(address, KvEventBatch(0.0, event.events, rank))
