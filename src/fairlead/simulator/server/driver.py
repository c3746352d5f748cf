"""Engines in wall-clock time: one timer wakes at the end of an iteration, and all streams get their tokens in one pass.

No task runs per token. A `Live` sequence has a `Receiver` that is called with how many tokens there are by now; what
it writes, and whether it skips a turn because its client is slow, changes nothing for the engine or for others.
The engine's own time is that of its iterations, so a late wake-up delays bytes, never the next iteration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from math import inf
from typing import Protocol

from fairlead.clock import Clock
from fairlead.simulator.engine import Engine, Sequence, State
from fairlead.simulator.server.journal import Journal
from fairlead.simulator.server.live_request import LiveRequest
from fairlead.simulator.server.metrics.metrics_page import Rank

_MOST_BOUNDARIES = 64
"""How many missed iterations one wake-up looks at one by one; beyond that they count as one."""


class Receiver(Protocol):
    """Where a sequence's tokens go."""

    def tokens(self, live: Live, count: int) -> None:
        """There are `count` tokens now; called at most once per iteration, and not for every token."""
        ...

    def ended(self, live: Live) -> None:
        """The sequence is over: finished (`live.sequence.state`), or ended by the server before its end."""
        ...

    def failed(self, error: Exception) -> None:
        """A call above has raised, or the engine has: there will be no more of them."""
        ...


class Live:
    """A sequence of a request in an engine."""

    __slots__ = ("count", "last_s", "over", "rank", "receiver", "request", "sent", "sequence")

    def __init__(self, request: LiveRequest, rank: int, sequence: Sequence, receiver: Receiver) -> None:
        self.request = request
        self.rank = rank
        self.sequence = sequence
        self.receiver = receiver
        self.count = 0
        """Tokens that exist."""
        self.sent = 0
        """Tokens that the receiver has sent; it keeps this number."""
        self.last_s = 0.0
        """When the last of them came."""
        self.over = False
        """Its receiver is told nothing more."""


class Driver:
    """Drives the ranks of one server. `response_s` is how much later than its token a byte leaves."""

    def __init__(self, ranks: Iterable[Rank], clock: Clock, *, response_s: float = 0.0) -> None:
        self.ranks = tuple(ranks)
        self.on_step: Callable[[int], None] | None = None
        """Called with a rank's index when something has happened there, after the tokens have gone out."""
        self.journal: Journal | None = None
        self._clock = clock
        self._response_s = response_s
        self._live: list[dict[Sequence, Live]] = [{} for _ in self.ranks]
        self._timers: list[asyncio.TimerHandle | None] = [None for _ in self.ranks]
        self._due_s: list[float] = [inf for _ in self.ranks]
        self._generated = [0 for _ in self.ranks]
        self._prompted = [0 for _ in self.ranks]

    @property
    def num_live(self) -> int:
        return sum(map(len, self._live))

    def submit(self, request: LiveRequest, rank: int, receiver: Receiver) -> Live:
        """A request arrives now. Raises RequestTooLong."""
        now_s = self._clock.monotonic_s()
        self._step(rank, now_s)
        sequence = self.ranks[rank].engine.submit(now_s, request)
        if self.journal is not None:
            self.journal.submitted(now_s, rank, request)
        live = self._live[rank][sequence] = Live(request, rank, sequence, receiver)
        self._set_timer(rank, now_s)
        return live

    def abort(self, live: Live) -> bool:
        """Its client has gone. False, and nothing happens, when it has ended."""
        rank = live.rank
        if live.sequence not in self._live[rank]:
            return False
        now_s = self._clock.monotonic_s()
        self._step(rank, now_s)
        if self._live[rank].pop(live.sequence, None) is None:  # its end was due
            self._set_timer(rank, now_s)
            return False
        live.over = True
        self.ranks[rank].engine.abort(now_s, live.sequence)
        if self.journal is not None:
            self.journal.aborted(now_s, rank, live.request)
        self.ranks[rank].metrics.finished["abort"] += 1
        self._set_timer(rank, now_s)
        return True

    def end_all(self, rank: int) -> None:
        """End every sequence of a rank before its end, and tell its receivers."""
        for live in list(self._live[rank].values()):
            self.end(live)

    def end(self, live: Live) -> None:
        """End a sequence before its end, and tell its receiver. Does nothing when it has ended."""
        if self.abort(live):
            live.receiver.ended(live)

    def release(self, live: Live) -> None:
        """The held KV cache of a finished prefill was fetched."""
        now_s = self._clock.monotonic_s()
        self._step(live.rank, now_s)
        self.ranks[live.rank].engine.release(now_s, live.sequence)
        self._set_timer(live.rank, now_s)

    def apply(self, rank: int, operation: Callable[[Engine, float], object]) -> object:
        """Call `operation(engine, now)` between iterations of the driver, and look at its timers again."""
        now_s = self._clock.monotonic_s()
        self._step(rank, now_s)
        result = operation(self.ranks[rank].engine, now_s)
        self._set_timer(rank, now_s)
        return result

    def catch_up(self) -> float:
        """Bring all ranks to the present, for whoever looks at them; returns the time."""
        now_s = self._clock.monotonic_s()
        for rank in range(len(self.ranks)):
            self._step(rank, now_s)
            self._set_timer(rank, now_s)
        return now_s

    def close(self) -> None:
        for rank, timer in enumerate(self._timers):
            if timer is not None:
                timer.cancel()
                self._timers[rank] = None

    # Time

    def _step(self, rank: int, now_s: float) -> None:
        """Everything up to now, iteration by iteration, so that every token is counted at its own time."""
        engine = self.ranks[rank].engine
        for boundary in range(_MOST_BOUNDARIES):
            due_s = self._due_s[rank]
            if due_s > now_s:
                break
            at_s = due_s if boundary < _MOST_BOUNDARIES - 1 else now_s
            engine.advance(at_s)
            self._deliver(rank, at_s)
            self._due_s[rank] = min(engine.next_boundary_s(at_s), engine.next_s)

    def _deliver(self, rank: int, at_s: float) -> None:
        """Tell receivers of their new tokens, at once or when the frontend has had its time with them."""
        fresh = self._fresh(rank, at_s)
        self._count_iteration(rank, at_s)
        ended = self._ended(rank) if self.ranks[rank].engine.finished else []
        if not self._response_s:
            _send(fresh, ended)
        elif fresh or ended:
            asyncio.get_running_loop().call_later(self._response_s, _send, fresh, ended)
        if self.on_step is not None:
            self.on_step(rank)

    def _fresh(self, rank: int, at_s: float) -> list[tuple[Live, int]]:
        """Sequences that go on and have new tokens, with how many they have; counts what that means for latencies."""
        engine, metrics = self.ranks[rank].engine, self.ranks[rank].metrics
        decode, tokens_of = engine.scheduler.decode, engine.tokens_of
        # All that decode have gained the same since the engine last counted: looked up once, not for every sequence.
        further = engine.tokens_in_flight(at_s)
        fresh = []
        usual_s, usual = -1.0, 0
        for sequence, live in self._live[rank].items():
            decodes = sequence.state is State.DECODE
            count = decode.generated(sequence, further) if decodes else tokens_of(sequence, at_s)
            if count == live.count:
                continue
            if not live.count:
                metrics.ttft.observe(sequence.first_token_s - sequence.arrived_s)
            elif at_s - live.last_s == usual_s:
                usual += 1
            else:
                metrics.itl.observe(usual_s, usual)
                usual_s, usual = at_s - live.last_s, 1
            live.count = count
            live.last_s = at_s
            if sequence.finished_s < 0:
                fresh.append((live, count))
        metrics.itl.observe(usual_s, usual)
        return fresh

    def _ended(self, rank: int) -> list[Live]:
        """Those that have finished, counted and taken out."""
        state = self.ranks[rank]
        finished, state.engine.finished = state.engine.finished, []
        ended = []
        for sequence in finished:
            live = self._live[rank].pop(sequence, None)
            if live is not None:
                request = live.request
                state.metrics.request_finished(
                    sequence, request.outcome.finish_reason, n=request.n, max_tokens=request.max_tokens
                )
                ended.append(live)
        return ended

    def _count_iteration(self, rank: int, at_s: float) -> None:
        state = self.ranks[rank]
        counters = state.engine.counters
        generated = state.engine.generation_tokens(at_s)
        prompted = counters.prompt_tokens - counters.cached_prompt_tokens
        tokens = generated - self._generated[rank] + prompted - self._prompted[rank]
        if tokens > 0:
            state.metrics.iteration_tokens.observe(tokens)
        self._generated[rank], self._prompted[rank] = generated, prompted

    def _set_timer(self, rank: int, now_s: float) -> None:
        if self.on_step is not None:
            self.on_step(rank)
        engine = self.ranks[rank].engine
        due_s = min(engine.next_boundary_s(now_s), engine.next_s)
        timer = self._timers[rank]
        if timer is not None:
            if due_s == self._due_s[rank]:
                return
            timer.cancel()
            self._timers[rank] = None
        self._due_s[rank] = due_s
        if due_s < inf:
            # Writing to many streams takes time: the timer counts from the present, not from the step.
            delay_s = max(0.0, due_s - self._clock.monotonic_s())
            self._timers[rank] = asyncio.get_running_loop().call_later(delay_s, self._wake, rank)

    def _wake(self, rank: int) -> None:
        self._timers[rank] = None
        now_s = self._clock.monotonic_s()
        if now_s < self._due_s[rank]:
            # Timers of the event loop have milliseconds; waking early means trying again.
            self._rearm(rank, now_s)
            return
        try:
            self._step(rank, now_s)
            self._set_timer(rank, now_s)
        except Exception as error:
            # Nothing wakes this rank again by itself: those who wait for it are told.
            lost = list(self._live[rank].values())
            self._live[rank].clear()
            for live in lost:
                live.over = True
                live.receiver.failed(error)
            raise

    def _rearm(self, rank: int, now_s: float) -> None:
        delay_s = self._due_s[rank] - now_s
        self._timers[rank] = asyncio.get_running_loop().call_later(delay_s, self._wake, rank)


def _send(tokens: Iterable[tuple[Live, int]], ended: Iterable[Live]) -> None:
    """What an iteration has brought, once the frontend has had its time with it."""
    for live, count in tokens:
        if not live.over:
            try:
                live.receiver.tokens(live, count)
            except Exception as error:  # one answer that cannot be written must not stop those of others
                live.over = True
                live.receiver.failed(error)
    for live in ended:
        if not live.over:
            live.over = True
            try:
                live.receiver.ended(live)
            except Exception as error:
                live.receiver.failed(error)
