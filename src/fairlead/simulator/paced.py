"""A model server without a model: admission to a bounded batch, and tokens paced in time.

A request waits, first come first served, until one of `max_num_seqs` places is free; its first token comes `ttft_s`
later and each further one `itl_s` after that, from absolute deadlines, so that a late wake-up never shifts the rest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fairlead.clock import SYSTEM, Clock
from fairlead.simulator.metrics import EngineMetrics
from fairlead.simulator.requests import Generation
from fairlead.simulator.text import token_text

BLOCK_SIZE_TOKENS = 16


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Behaviour of the engine. Times in seconds."""

    ttft_s: float = 0.02
    itl_s: float = 0.01
    max_num_seqs: int = 256
    num_gpu_blocks: int = 16_384
    max_model_len: int = 131_072


@dataclass(frozen=True, slots=True)
class Piece:
    """A step of an answer: text that may be sent, how many tokens exist by now, and why it ended ("" = it goes on)."""

    text: str
    tokens: int
    finish_reason: str = ""
    stop_reason: str | None = None


class SimulatedEngine:
    """Runs generations concurrently on one event loop; `running` and `waiting` count them."""

    def __init__(self, model: str, settings: EngineSettings, clock: Clock = SYSTEM) -> None:
        self.settings = settings
        self.running = 0
        self.metrics = EngineMetrics(
            model,
            block_size=BLOCK_SIZE_TOKENS,
            num_gpu_blocks=settings.num_gpu_blocks,
            max_model_len=settings.max_model_len,
        )
        self._clock = clock
        self._queue: deque[asyncio.Future[None]] = deque()
        self._used_blocks = 0

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def kv_cache_usage(self) -> float:
        """Share of the KV cache in use, 0 to 1."""
        return min(1.0, self._used_blocks / self.settings.num_gpu_blocks)

    def metrics_page(self) -> bytes:
        """The Prometheus page with the gauges as of now."""
        self.metrics.running.set(self.running)
        self.metrics.waiting.set(self.waiting)
        self.metrics.kv_cache_usage.set(self.kv_cache_usage)
        return self.metrics.page()

    async def generate(self, request: Generation) -> AsyncGenerator[Piece, None]:
        """The answer in pieces, each at its time; the last one carries the finish reason. Cancel it by closing it."""
        arrived_s = self._clock.monotonic_s()
        await self._admit()
        blocks = -(-request.prompt_tokens // BLOCK_SIZE_TOKENS)
        self._used_blocks += blocks
        timing = _Timing(arrived_s, self._clock.monotonic_s())
        outcome = "abort"
        tokens = 0
        try:
            text = _StoppingText(request)
            for position in range(request.length_tokens):
                await self._sleep_until(timing.admitted_s + self.settings.ttft_s + position * self.settings.itl_s)
                tokens = position + 1
                if (request.prompt_tokens + tokens) % BLOCK_SIZE_TOKENS == 1:
                    blocks += 1
                    self._used_blocks += 1
                timing.token(self._clock.monotonic_s(), self.metrics)
                self.metrics.generation_tokens.inc()
                piece = text.add(position)
                if piece.finish_reason:
                    outcome = piece.finish_reason
                    self._finished(request, tokens, timing)
                yield piece
                if piece.finish_reason:
                    return
        finally:
            self._used_blocks -= blocks
            self._release()
            self.metrics.prompt_tokens.inc(request.prompt_tokens)
            self.metrics.success[outcome].inc()

    async def _admit(self) -> None:
        if self.running < self.settings.max_num_seqs and not self._queue:
            self.running += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()
            else:
                self._queue.remove(turn)
            raise

    def _release(self) -> None:
        self.running -= 1
        while self._queue and self.running < self.settings.max_num_seqs:
            turn = self._queue.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)

    async def _sleep_until(self, deadline_s: float) -> None:
        remaining_s = deadline_s - self._clock.monotonic_s()
        if remaining_s > 0:
            await self._clock.sleep(remaining_s)

    def _finished(self, request: Generation, tokens: int, timing: _Timing) -> None:
        metrics = self.metrics
        now_s = self._clock.monotonic_s()
        metrics.request_prompt_tokens.observe(request.prompt_tokens)
        metrics.request_generation_tokens.observe(tokens)
        metrics.request_n.observe(1)
        if request.max_tokens is not None:
            metrics.request_max_tokens.observe(request.max_tokens)
        metrics.e2e_s.observe(now_s - timing.arrived_s)
        metrics.queue_s.observe(timing.admitted_s - timing.arrived_s)
        metrics.inference_s.observe(now_s - timing.admitted_s)
        metrics.prefill_s.observe(timing.first_s - timing.admitted_s)
        metrics.decode_s.observe(now_s - timing.first_s)
        if tokens > 1:
            metrics.tpot_s.observe((now_s - timing.first_s) / (tokens - 1))


@dataclass(slots=True)
class _Timing:
    """Moments of one request on the monotonic clock, in seconds."""

    arrived_s: float
    admitted_s: float
    first_s: float = 0.0
    last_s: float = 0.0

    def token(self, now_s: float, metrics: EngineMetrics) -> None:
        if self.first_s:
            metrics.itl_s.observe(now_s - self.last_s)
        else:
            self.first_s = now_s
            metrics.ttft_s.observe(now_s - self.arrived_s)
        self.last_s = now_s


class _StoppingText:
    """Text as it grows, ending before a stop string: text that may begin one is held back until it is decided."""

    def __init__(self, request: Generation) -> None:
        self._request = request
        self._held = ""
        self._hold_chars = max((len(s) for s in request.stops), default=1) - 1

    def add(self, position: int) -> Piece:
        request = self._request
        self._held += token_text(request.seed, position)
        tokens = position + 1
        found = [(self._held.find(s), s) for s in request.stops if s in self._held]
        if found:
            where, stop = min(found)
            return Piece(self._held[:where], tokens, "stop", stop)
        if tokens == request.length_tokens:
            return Piece(self._held, tokens, "stop" if request.ends_by_itself else "length")
        ready = len(self._held) - self._hold_chars
        text, self._held = (self._held[:ready], self._held[ready:]) if ready > 0 else ("", self._held)
        return Piece(text, tokens)
