"""Dynamic batching: requests that wait together run together.

`choose` decides purely; `Batcher` keeps the queue and runs the batches in threads of its own. Requests leave in the
order they came, except that requests like the first one overtake others to join its batch. When a batch of several
fails, its requests run again one by one, so that only the one to blame fails.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fairlead.clock import SYSTEM, Clock
from fairlead.runtimes.onnx.errors import InferenceError, not_ready, queue_full
from fairlead.runtimes.onnx.model import Output
from fairlead.runtimes.onnx.settings import ModelSettings
from fairlead.runtimes.onnx.tensors import Array


class Runs(Protocol):
    """What executes a batch; blocks."""

    @property
    def batchable(self) -> bool: ...

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Output]: ...


class Observer(Protocol):
    """Is told what happens in the queue. Times in seconds."""

    def waiting(self, change: int) -> None: ...
    def running(self, change: int) -> None: ...
    def queued(self, duration_s: float) -> None: ...
    def executed(self, rows: int, requests: int, duration_s: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request as the choice sees it: requests with equal `key` fit together; None fits with nothing."""

    key: Hashable | None
    rows: int
    since_s: float


@dataclass(frozen=True, slots=True)
class Take:
    """Run these positions of the queue now."""

    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Wait for more requests, at most until this time."""

    time_s: float


def choose(queue: Sequence[Waiting], now_s: float, max_rows: int, max_delay_s: float) -> Take | WaitUntil:
    """What to do with a queue that is not empty. A request of more than `max_rows` rows runs alone."""
    first = queue[0]
    positions, rows = [0], first.rows
    if first.key is not None:
        for position in range(1, len(queue)):
            if rows >= max_rows:
                break
            other = queue[position]
            if other.key == first.key and rows + other.rows <= max_rows:
                positions.append(position)
                rows += other.rows
    leave_s = first.since_s + max_delay_s
    if first.key is None or rows >= max_rows or now_s >= leave_s:
        return Take(tuple(positions))
    return WaitUntil(leave_s)


@dataclass(slots=True, eq=False)
class _Request:
    view: Waiting
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    answer: asyncio.Future[list[Output]] = field(repr=False)


class Batcher:
    """The queue of one model. Start it in a running event loop; `finish` ends it after what it has accepted."""

    def __init__(
        self, name: str, model: Runs, settings: ModelSettings, observer: Observer, clock: Clock = SYSTEM
    ) -> None:
        self._name = name
        self._model = model
        self._settings = settings
        self._observer = observer
        self._clock = clock
        self._batchable = settings.max_batch_size > 1 and model.batchable
        self._queue: list[_Request] = []
        self._changed = asyncio.Event()
        self._finishing = False
        self._threads = ThreadPoolExecutor(settings.instances, f"onnx-{name}")
        self._workers = [asyncio.create_task(self._work()) for _ in range(settings.instances)]

    async def submit(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> list[Output]:
        """The outputs, in the order asked for. Raises InferenceError. Cancelling it takes the request off the queue."""
        if self._finishing:
            raise not_ready(f"model '{self._name}' is being unloaded")
        if len(self._queue) >= self._settings.max_queue:
            raise queue_full(self._name, self._settings.max_queue)
        answer: asyncio.Future[list[Output]] = asyncio.get_running_loop().create_future()
        request = _Request(self._view(inputs, outputs), inputs, outputs, answer)
        self._queue.append(request)
        self._observer.waiting(1)
        self._changed.set()
        try:
            return await answer
        finally:
            if request in self._queue:
                self._queue.remove(request)
                self._observer.waiting(-1)

    async def finish(self) -> None:
        """Run what is queued, take nothing more, and end the threads."""
        self._finishing = True
        self._changed.set()
        await asyncio.gather(*self._workers)
        self._threads.shutdown(wait=False)

    def _view(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Waiting:
        counts = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
        rows = counts.pop() if len(counts) == 1 else 0
        key: Hashable | None = None
        if self._batchable and rows:
            key = (outputs, tuple((name, inputs[name].shape[1:]) for name in sorted(inputs)))
        return Waiting(key, max(rows, 1), self._clock.monotonic_s())

    async def _work(self) -> None:
        while True:
            if not self._queue:
                if self._finishing:
                    return
                self._changed.clear()
                await self._changed.wait()
                continue
            decision = choose(
                [request.view for request in self._queue],
                self._clock.monotonic_s(),
                self._settings.max_batch_size,
                0.0 if self._finishing else self._settings.max_delay_ms / 1000,
            )
            if isinstance(decision, WaitUntil):
                await self._change_or(decision.time_s)
                continue
            taken = [self._queue[position] for position in decision.positions]
            gone = set(map(id, taken))
            self._queue = [request for request in self._queue if id(request) not in gone]
            await self._execute(taken)

    async def _change_or(self, time_s: float) -> None:
        self._changed.clear()
        sleep = asyncio.ensure_future(self._clock.sleep(max(0.0, time_s - self._clock.monotonic_s())))
        change = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((sleep, change), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleep, change):
                task.cancel()

    async def _execute(self, batch: list[_Request]) -> None:
        now_s = self._clock.monotonic_s()
        self._observer.waiting(-len(batch))
        for request in batch:
            self._observer.queued(now_s - request.view.since_s)
        self._observer.running(len(batch))
        try:
            results = await self._run(batch)
        finally:
            self._observer.running(-len(batch))
        for request, result in zip(batch, results, strict=True):
            if request.answer.done():
                continue
            if isinstance(result, InferenceError):
                request.answer.set_exception(result)
            else:
                request.answer.set_result(result)

    async def _run(self, batch: list[_Request]) -> list[list[Output] | InferenceError]:
        """One result for each request, in one execution if that can be."""
        if len(batch) > 1:
            try:
                return list(await self._timed(batch))
            except UnevenRows:
                self._batchable = False
            except InferenceError:
                pass
        results: list[list[Output] | InferenceError] = []
        for request in batch:
            try:
                results.extend(await self._timed([request]))
            except InferenceError as error:
                results.append(error)
        return results

    async def _timed(self, batch: list[_Request]) -> list[list[Output]]:
        rows = [request.view.rows for request in batch]
        parts = [request.inputs for request in batch]
        began_s = self._clock.monotonic_s()
        loop = asyncio.get_running_loop()
        results = await loop.run_in_executor(self._threads, execute, self._model, parts, batch[0].outputs, rows)
        self._observer.executed(sum(rows), len(batch), self._clock.monotonic_s() - began_s)
        return results


class UnevenRows(InferenceError):
    """An output does not have one row for each of the inputs', whatever the graph says of its first dimension."""


def execute(
    model: Runs, parts: Sequence[Mapping[str, Array]], outputs: Sequence[str], rows: Sequence[int]
) -> list[list[Output]]:
    """Run requests of `rows` rows each in one execution; the outputs of each. Blocks. Raises InferenceError."""
    try:
        if len(parts) == 1:
            return [model.run(parts[0], outputs)]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return split(model.run(joined, outputs), rows)
    except InferenceError:
        raise
    except Exception as error:
        raise InferenceError(500, f"the batch failed: {error}") from error


def split(outputs: Sequence[Output], rows: Sequence[int]) -> list[list[Output]]:
    """The outputs of each request of `rows` rows. Raises UnevenRows."""
    ends = list(itertools.accumulate(rows))
    for output in outputs:
        if output.rows != ends[-1]:
            raise UnevenRows(500, f"an output has {output.rows} rows for {ends[-1]} of input")
    return [[o.part(end - count, end) for o in outputs] for end, count in zip(ends, rows, strict=True)]
