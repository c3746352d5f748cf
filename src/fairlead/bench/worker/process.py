"""The worker's process: takes messages, sends what is due, tells how it is.

`python -m fairlead.bench.worker FD` with one end of a Unix socket pair, or `… HOST:PORT` to call a coordinator
elsewhere.
"""

from __future__ import annotations

import asyncio
import gc
import math
import resource
import time
from collections import deque

from fairlead.bench.session import Job
from fairlead.bench.wire import (
    LENGTH_BYTES,
    Cap,
    Down,
    EndStage,
    Finish,
    Finished,
    Jobs,
    Ping,
    Pong,
    Pulse,
    Ready,
    Records,
    Settings,
    Start,
    Up,
    Users,
    down_decoder,
    frame,
)
from fairlead.bench.worker.alarm import Alarm
from fairlead.bench.worker.beat import Beat
from fairlead.bench.worker.pool import Pool
from fairlead.bench.worker.priority import NORMAL, Standing
from fairlead.bench.worker.sessions import Sessions
from fairlead.bench.worker.users import ClosedStage

_now = time.monotonic  # noqa: TID251 (the hot path reads the clock itself)
LATE_RECORDS = 2048
SENT_AT_ONCE = 16
"""Of a burst, before the loop looks at what has come: each takes some 50 µs."""
SWEPT_AT_ONCE = 1000
SWEEP_S = 0.25


class Worker:
    """One connection to the coordinator and all that it asks for. When the connection ends, so does the worker.
    `priority`: how its process is scheduled."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, priority: str = NORMAL) -> None:
        self._reader, self._writer = reader, writer
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._loop)
        self._settings = Settings(0, [], False)
        self._pools: list[Pool] = []
        self._beat = Beat(self._loop, self._alarm)
        self._sessions = Sessions([], self._alarm, 0, self._beat)
        self._queue: deque[Job] = deque()
        self._queued_until_s = 0.0
        self._received = 0
        self._closed: dict[int, ClosedStage] = {}
        self._armed_s = math.inf
        self._standing = Standing(priority)
        self._finished = asyncio.Event()
        self._pulsed_s, self._pulsed_cpu_s = _now(), time.process_time()

    async def run(self) -> bool:
        """Returns whether it was told to finish, and has; else the connection ended before that."""
        tasks = [asyncio.ensure_future(t) for t in (self._listen(), self._tell(), self._sweep(), self._finished.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and not task.cancelled() and task.exception() is not None:
                    raise task.exception()  # type: ignore[misc]
        finally:
            for task in tasks:
                task.cancel()
            for pool in self._pools:
                pool.close()
            self._writer.close()
        return self._finished.is_set()

    async def _listen(self) -> None:
        while True:
            try:
                length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
                message = down_decoder.decode(await self._reader.readexactly(length))
            except (asyncio.IncompleteReadError, OSError):
                return
            if isinstance(message, Finish):
                asyncio.ensure_future(self._finish(message.drain_s))  # noqa: RUF006 (ends the process)
            elif isinstance(message, Settings):
                await self._settle(message)
            else:
                self._take(message)

    async def _settle(self, settings: Settings) -> None:
        self._settings = settings
        try:
            self._pools = [Pool(peer, self._loop) for peer in settings.peers]
            for pool in self._pools:
                await pool.resolve()
        except (OSError, ValueError) as error:
            self._say(Ready(str(error)))
            return
        self._sessions = Sessions(self._pools, self._alarm, settings.worker, self._beat)
        # What is there by now stays: collections look at the requests under way alone, and seldom.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        self._say(Ready(priority=self._standing.priority))

    def _take(self, message: Down) -> None:
        if isinstance(message, Start):
            self._sessions.origin_s = message.monotonic_ns / 1e9
            self._beat.begin()
        elif isinstance(message, Ping):
            self._say(Pong(message.sent_ns, time.monotonic_ns()))
        elif isinstance(message, Jobs):
            self._add(message.jobs)
        elif isinstance(message, Users):
            self._closed[message.stage] = ClosedStage(message, self._sessions, self._alarm)
        elif isinstance(message, Cap):
            self._sessions.allow(message.in_flight)
        elif isinstance(message, EndStage):
            self._queue = deque(j for j in self._queue if j.stage != message.stage)
            if (stage := self._closed.get(message.stage)) is not None:
                stage.stop()
            self._sessions.stop(message.stage)
            if message.abort:
                self._sessions.abort(message.stage, "the stage was ended")

    def _add(self, jobs: list[Job]) -> None:
        in_order = True
        self._received += len(jobs)
        for job in jobs:
            if job.due_s >= 0:
                in_order = in_order and job.due_s >= self._queued_until_s
                self._queue.append(job)
                self._queued_until_s = max(self._queued_until_s, job.due_s)
        if not in_order:  # jobs of a worker that was lost come later than their turn
            self._queue = deque(sorted(self._queue, key=lambda job: job.due_s))
        if any(job.due_s < 0 for job in jobs):
            for number, stage in self._closed.items():
                stage.add([job for job in jobs if job.due_s < 0 and job.stage == number])
        self._arm()

    def _arm(self) -> None:
        if self._queue and self._queue[0].due_s < self._armed_s:
            self._armed_s = self._queue[0].due_s
            self._alarm.at(self._sessions.origin_s + self._armed_s, self._send_due)

    def _send_due(self) -> None:
        self._armed_s = math.inf
        queue, sessions = self._queue, self._sessions
        origin_s, left = sessions.origin_s, SENT_AT_ONCE
        while queue and origin_s + queue[0].due_s <= _now():
            if left == 0:
                self._armed_s = -math.inf  # answers are read, and stamped, before more is sent
                self._loop.call_soon(self._send_due)
                return
            left -= 1
            job = queue.popleft()
            sessions.begin(job, origin_s + job.due_s)
        self._arm()

    async def _tell(self) -> None:
        """Records and pulses, between requests."""
        pulse_at_s = 0.0
        while True:
            await asyncio.sleep(min(self._settings.pulse_s, self._settings.records_s))
            self._flush()
            if _now() >= pulse_at_s:
                self._pulse()
                pulse_at_s = _now() + self._settings.pulse_s * 0.9
            await self._writer.drain()

    def _flush(self) -> None:
        records = self._sessions.records
        if records:
            self._sessions.records = []
            for at in range(0, len(records), LATE_RECORDS):
                self._say(Records(records[at : at + LATE_RECORDS]))

    def _pulse(self) -> None:
        now_s, cpu_s, sessions = _now(), time.process_time(), self._sessions
        lags = self._beat.taken()
        self._standing.used(cpu_s - self._pulsed_cpu_s, now_s - self._pulsed_s)
        queued = len(self._queue) + sessions.held + sum(s.queued for s in self._closed.values())
        ahead_s = self._queued_until_s - (now_s - sessions.origin_s) if self._queue else 0.0
        self._say(
            Pulse(
                self._settings.worker, now_s - sessions.origin_s, cpu_s - self._pulsed_cpu_s, now_s - self._pulsed_s,
                sessions.in_flight, sessions.sent, sessions.ended, queued, ahead_s, lags,
                self._received,
            )
        )  # fmt: skip
        self._pulsed_s, self._pulsed_cpu_s = now_s, cpu_s

    async def _sweep(self) -> None:
        while True:
            begun_s = _now()
            await asyncio.sleep(SWEEP_S)
            now_s = _now()
            if now_s - begun_s > 2 * SWEEP_S:
                continue  # stopped, or starved: what came meanwhile is read first, and is nobody's silence
            for pool in self._pools:
                pool.expire_waiting(now_s)
                flying = pool.flying
                for at in range(0, len(flying), SWEPT_AT_ONCE):
                    pool.expire(flying[at : at + SWEPT_AT_ONCE], now_s)
                    await asyncio.sleep(0)

    async def _finish(self, drain_s: float) -> None:
        until_s = _now() + drain_s
        while _now() < until_s and (self._queue or self._sessions.goes_on(until_s)):  # noqa: ASYNC110 (at the end)
            await asyncio.sleep(0.02)
        self._queue.clear()
        self._sessions.abort(None, "the run was ended")
        self._flush()
        self._pulse()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._say(Finished(self._settings.worker, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024))
        await self._writer.drain()
        self._finished.set()

    def _say(self, message: Up) -> None:
        self._writer.write(frame(message))
