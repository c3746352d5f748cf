"""The engine: a continuous-batching server with vLLM V1's behaviour, as a state machine that is told the time.

Between two boundaries the engine computes one `Flight`: an iteration with prompt tokens in it, or a run of decode
iterations up to the next event. An arrival cuts a run at the next boundary at which it can be admitted. The work per
request is therefore a few events, whatever the number of its tokens.

One order of calls gives one result: nothing here reads a clock or draws a random number that is not seeded.
"""

from __future__ import annotations

import heapq
from math import inf

from fairlead.perf.step import StepCost
from fairlead.simulator.engine.counters import Counters
from fairlead.simulator.engine.flight import Flight
from fairlead.simulator.engine.jitter import Acceptance, Jitter
from fairlead.simulator.engine.kv_cache import BlockObserver
from fairlead.simulator.engine.limits import check_request
from fairlead.simulator.engine.request import Request, Sequence, State
from fairlead.simulator.engine.scheduler import Plan, Scheduler
from fairlead.simulator.engine.settings import EngineSettings
from fairlead.simulator.engine.sketch import Sketch


class Engine:
    """One engine (one data-parallel rank). Times are seconds on any one clock; they must not go back.

    `next_s` is when it next changes by itself. Sequences that end are appended to `finished`, which the owner empties.
    """

    def __init__(
        self,
        settings: EngineSettings,
        cost: StepCost,
        *,
        seed: int = 0,
        itl: Sketch | None = None,
        blocks: BlockObserver | None = None,
    ) -> None:
        self.settings = settings
        self.cost = cost
        self.itl = Sketch() if itl is None else itl
        self.counters = Counters()
        self.scheduler = Scheduler(settings, blocks)
        self.finished: list[Sequence] = []
        self.next_s = inf
        self.is_sleeping = False
        self._flight: Flight | None = None
        self._iteration = 0
        self._timers: list[tuple[float, int, Sequence | None]] = []  # None: the engine is awake
        self._timer_number = 0
        self._room_after = False
        """Sequences left the batch when, or after, the iteration under way was put together: others can have their room
        in the next one."""
        self._aborts: list[Sequence] = []
        self._drafts = settings.speculation.tokens if settings.speculation else 0
        self._draft_s = settings.speculation.draft_s if settings.speculation else 0.0
        self._jitter = Jitter(settings.jitter, seed) if settings.jitter else None
        self._acceptance = (
            Acceptance(self._drafts, settings.speculation.acceptance, seed) if settings.speculation else None
        )

    # Requests

    def submit(self, now_s: float, request: Request) -> Sequence:
        """A request arrives. Raises RequestTooLong."""
        self.check(request)
        if self.next_s <= now_s:
            self.advance(now_s)
        sequence = Sequence(request, now_s)
        self.scheduler.waiting.append(sequence)
        flight = self._flight
        if flight is None:
            self._take_off(now_s)
            return sequence
        iterations = flight.begun_by(now_s) + (1 if self.settings.async_scheduling else 0)
        sequence.eligible_step = flight.number + iterations
        if iterations < flight.iterations and not self.scheduler.blocked:
            flight.cut(iterations)
            self._set_next()
        return sequence

    def check(self, request: Request) -> None:
        """Raises RequestTooLong for a request that could never run."""
        check_request(request, self.settings)

    def abort(self, now_s: float, sequence: Sequence) -> None:
        """The client has gone: the sequence leaves, at once if it waits, else at the end of the iteration."""
        self.advance(now_s)
        if sequence.state in (State.FINISHED, State.ABORTED):
            return
        if sequence in self.scheduler.running and self._flight is not None:
            self._aborts.append(sequence)
            self._cut(now_s)
            return
        self.scheduler.remove(sequence, State.FINISHED if sequence.state is State.HELD else State.ABORTED)
        self._room_made(now_s)

    def release(self, now_s: float, sequence: Sequence) -> None:
        """The held KV cache of a prefilled request was fetched, or nobody wants it."""
        self.advance(now_s)
        if sequence.state is State.HELD:
            self.scheduler.remove(sequence, State.FINISHED)
            self._room_made(now_s)

    def tokens_of(self, sequence: Sequence, now_s: float) -> int:
        """Tokens that the sequence has generated at `now_s`, between the last call and `next_s`."""
        if sequence.state is not State.DECODE:
            return sequence.generated_tokens
        return self.scheduler.decode.generated(sequence, self.tokens_in_flight(now_s))

    # Time

    def advance(self, now_s: float) -> None:
        """Everything that happens up to and including `now_s`."""
        while self.next_s <= now_s:
            flight = self._flight
            if flight is not None and flight.end_s <= self.next_s:
                self._land(flight)
            else:
                self._fire_timer()

    def next_boundary_s(self, now_s: float) -> float:
        """When the iteration that runs at `now_s` ends; infinity while nothing runs."""
        flight = self._flight
        if flight is None:
            return inf
        done = flight.done_by(now_s)
        return flight.start_s + flight.elapsed_s(min(flight.iterations, done + 1))

    def _land(self, flight: Flight) -> None:
        """The flight has ended: count what it did, finish who is done, and go on."""
        scheduler, counters, end_s = self.scheduler, self.counters, flight.end_s
        iterations, count = flight.iterations, flight.decoding
        duration_s = end_s - flight.start_s
        self._flight = None
        self._iteration = flight.number + iterations
        counters.iterations += iterations
        counters.busy_s += duration_s
        ended: list[Sequence] = []
        if count:
            decode = scheduler.decode
            tokens = self._tokens_of_iterations(flight.number, iterations)
            scheduler.cache.take(decode.blocks_for(tokens))
            ended = decode.advance(tokens)
            counters.generation_tokens += count * tokens - sum(decode.depth - s.finish_depth for s in ended)
            if self._jitter is None or iterations == 1:
                self.itl.add(duration_s / iterations, count * iterations)
            else:
                spread = self._jitter.spread
                for factor in spread:
                    self.itl.add(factor * duration_s / iterations, count * iterations / len(spread))
            if self._drafts:
                counters.spec_drafts += count * iterations
                counters.spec_drafted_tokens += count * iterations * self._drafts
                counters.spec_accepted_tokens += count * (tokens - iterations)
        for sequence in ended:
            self._finish(sequence, end_s)
        for sequence, tokens in flight.chunks:
            sequence.computed_tokens += tokens
            if sequence.computed_tokens >= sequence.target_tokens:
                self._prefilled(sequence, end_s)
        if self._aborts:
            self._leave(self._aborts)
        self._take_off(end_s)

    def _prefilled(self, sequence: Sequence, now_s: float) -> None:
        """A prompt is computed, which gives a token."""
        sequence.generated_tokens += 1
        self.counters.generation_tokens += 1
        if sequence.first_token_s < 0:
            sequence.first_token_s = now_s
            self.counters.prompt_tokens += sequence.request.prompt_tokens
            self.counters.cached_prompt_tokens += sequence.cached_tokens
        elif sequence.last_token_s >= 0:
            self.itl.add(now_s - sequence.last_token_s)
            sequence.last_token_s = -1.0
        self.scheduler.prefilled(sequence)
        if sequence.generated_tokens >= sequence.request.output_tokens:
            self._finish(sequence, now_s)

    def _finish(self, sequence: Sequence, now_s: float) -> None:
        sequence.finished_s = now_s
        held = sequence.request.hold_kv
        self.scheduler.finish(sequence, keep_blocks=held)
        if held:
            self._set_timer(now_s + self.settings.transfer.hold_s, sequence)
        self.finished.append(sequence)

    def _take_off(self, now_s: float) -> None:
        """Start the next flight, if there is anything to compute."""
        self._flight = None
        scheduler = self.scheduler
        if self.is_sleeping:
            scheduler.release_ending()
        elif (ending := scheduler.ending) and len(ending) == len(scheduler.running) and not scheduler.num_waiting:
            self._iteration += 1
            scheduler.release_ending()
        else:
            self._flight = self._next_flight(now_s)
            while self._flight is None and self._room_after:
                # Nothing could be scheduled in that iteration; the one after follows at once.
                self._iteration += 1
                self._flight = self._next_flight(now_s)
        self._set_next()

    def _next_flight(self, now_s: float) -> Flight | None:
        scheduler, number = self.scheduler, self._iteration
        preemptions, ended = scheduler.preemptions, bool(scheduler.ending)
        plan = scheduler.plan(now_s, number, self._tokens_of_iterations(number, 1))
        self._room_after = ended or scheduler.preemptions > preemptions
        if scheduler.ending:
            scheduler.release_ending()
        for sequence in plan.fetches:
            self._fetch(sequence, now_s)
        if plan.chunks:
            return self._iteration_with(plan, now_s)
        if scheduler.decode.count:
            return self._decode_run(now_s)
        return None

    def _iteration_with(self, plan: Plan, now_s: float) -> Flight:
        decode = self.scheduler.decode
        count = decode.count
        duration_s = plan.load_s + self.cost.step_s(
            plan.prefill_tokens, plan.pairs, count * (1 + self._drafts), decode.context_tokens
        )
        if count:
            duration_s += self._draft_s
        return Flight(now_s, self._iteration, 1, duration_s, 0.0, count, plan.chunks, self._jitter)

    def _decode_run(self, now_s: float) -> Flight:
        """As many decode iterations as pass before a sequence ends, blocks run out, or somebody can be admitted."""
        scheduler, number = self.scheduler, self._iteration
        decode, free = scheduler.decode, scheduler.cache.free_blocks
        tokens = decode.tokens_to_finish()
        acceptance = self._acceptance
        iterations = tokens if acceptance is None else acceptance.iterations_for(number, tokens)
        if decode.blocks_for(self._tokens_of_iterations(number, iterations)) > free:
            low, high = 1, iterations  # one fits: the plan has made room for it
            while low < high:
                middle = (low + high + 1) // 2
                if decode.blocks_for(self._tokens_of_iterations(number, middle)) <= free:
                    low = middle
                else:
                    high = middle - 1
            iterations = low
        if (self._room_after or scheduler.awaits_growth) and scheduler.num_waiting:
            iterations = 1
        elif scheduler.waiting and not scheduler.blocked:
            later = [s.eligible_step - number for s in scheduler.waiting if s.eligible_step > number]
            iterations = min((iterations, *later))
        count = decode.count
        first_s = self._draft_s + self.cost.step_s(0, 0, count * (1 + self._drafts), decode.context_tokens)
        growth_s = self.cost.context_s * count
        return Flight(now_s, number, iterations, first_s, growth_s, count, [], self._jitter, acceptance)

    def _cut(self, now_s: float) -> None:
        """End the flight with the iteration that is under way."""
        flight = self._flight
        if flight is not None and (begun := flight.begun_by(now_s)) < flight.iterations:
            flight.cut(begun)
            self._set_next()

    def _tokens_of_iterations(self, number: int, iterations: int) -> int:
        """Tokens that a decoding sequence gains."""
        return iterations if self._acceptance is None else self._acceptance.tokens(number, iterations)

    def tokens_in_flight(self, now_s: float) -> int:
        """Tokens that each decoding sequence has gained at `now_s` since the last change, before `next_s`."""
        flight = self._flight
        if flight is None or not flight.decoding:
            return 0
        return self._tokens_of_iterations(flight.number, flight.done_by(now_s))

    # Timers: KV caches that arrive or are held too long, and waking up

    def _fetch(self, sequence: Sequence, now_s: float) -> None:
        transfer = self.settings.transfer
        tokens = sequence.target_tokens - sequence.computed_tokens
        self.counters.fetched_tokens += tokens
        self._set_timer(now_s + transfer.latency_s + tokens / transfer.tokens_per_s, sequence)

    def _set_timer(self, at_s: float, sequence: Sequence | None) -> None:
        self._timer_number += 1
        heapq.heappush(self._timers, (at_s, self._timer_number, sequence))
        self._set_next()

    def _set_next(self) -> None:
        next_s = self._flight.end_s if self._flight is not None else inf
        timers = self._timers
        self.next_s = timers[0][0] if timers and timers[0][0] < next_s else next_s

    def _fire_timer(self) -> None:
        at_s, _, sequence = heapq.heappop(self._timers)
        if sequence is None:
            self.is_sleeping = False
            self._room_made(at_s)
        elif sequence.state is State.FETCHING:
            self.scheduler.arrived(sequence)
            self._room_made(at_s)
        elif sequence.state is State.HELD:
            self.scheduler.remove(sequence, State.FINISHED)
            self._room_made(at_s)
        else:
            self._set_next()

    def _room_made(self, now_s: float) -> None:
        """Something changed for those who wait: look again at the next boundary."""
        self.scheduler.blocked = False
        if self._flight is None:
            self._take_off(now_s)
        else:
            self._cut(now_s)
            self._set_next()

    # Operations

    def sleep(self, now_s: float) -> None:
        """Stop computing and drop the cache. What runs is preempted and waits for `wake`, as do arrivals."""
        self.advance(now_s)
        self._drop_flight(now_s)
        self.is_sleeping = True
        # Waking and fetching are broken off, too; only what is held goes on to be held.
        self._timers = [timer for timer in self._timers if timer[2] is not None and timer[2].state is State.HELD]
        heapq.heapify(self._timers)
        self.scheduler.preempt_all(now_s)
        self.scheduler.cache.clear()
        self._set_next()

    def wake(self, now_s: float) -> None:
        """Serve again, `wake_s` from now."""
        self.advance(now_s)
        if self.is_sleeping:
            self._set_timer(now_s + self.settings.wake_s, None)

    def reset_prefix_cache(self, now_s: float) -> bool:
        """Forget cached content; False, and nothing happens, while requests use the cache."""
        self.advance(now_s)
        return self.scheduler.cache.clear()

    def crash(self) -> list[Sequence]:
        """Everything is lost; returns the sequences that were here. The engine must not be used again."""
        scheduler = self.scheduler
        lost = [*scheduler.running, *scheduler.fetching, *scheduler.fetched, *scheduler.waiting]
        for sequence in lost:
            sequence.state = State.ABORTED
        self._flight, self._timers, self.next_s = None, [], inf
        return lost

    def _drop_flight(self, now_s: float) -> None:
        """Break off at the last boundary before `now_s`; the iteration under way is lost."""
        flight, self._flight = self._flight, None
        if flight is None:
            return
        done = flight.done_by(now_s)
        self._iteration = flight.number + done
        if done and flight.decoding:
            tokens = self._tokens_of_iterations(flight.number, done)
            self.scheduler.cache.take(self.scheduler.decode.blocks_for(tokens))
            self.scheduler.decode.advance(tokens)
            self.counters.generation_tokens += flight.decoding * tokens
        if self._aborts:
            self._leave(self._aborts)

    def _leave(self, sequences: list[Sequence]) -> None:
        for sequence in sequences:
            if sequence.state in (State.PREFILL, State.DECODE):  # it has not ended or been preempted meanwhile
                self.scheduler.remove(sequence, State.ABORTED)
        sequences.clear()

    # What it shows

    @property
    def num_running(self) -> int:
        return len(self.scheduler.running)

    @property
    def num_waiting(self) -> int:
        return self.scheduler.num_waiting

    def running_sequences(self) -> list[Sequence]:
        """In order of admission."""
        return list(self.scheduler.running)

    def used_blocks(self, now_s: float) -> int:
        """KV blocks in use at `now_s`, between the last call and `next_s`."""
        scheduler = self.scheduler
        growing = scheduler.decode.blocks_for(self.tokens_in_flight(now_s))
        return self.settings.num_blocks - scheduler.cache.free_blocks + growing

    def kv_usage(self, now_s: float) -> float:
        """Share of the KV cache in use, 0 to 1."""
        return self.used_blocks(now_s) / self.settings.num_blocks

    def generation_tokens(self, now_s: float) -> int:
        """Tokens generated so far, at `now_s` between the last call and `next_s`."""
        flight = self._flight
        in_flight = flight.decoding * self.tokens_in_flight(now_s) if flight is not None else 0
        return self.counters.generation_tokens + in_flight

    def running_adapters(self) -> list[str]:
        """LoRA adapters of running requests, sorted."""
        adapters = self.scheduler.adapters
        return sorted(adapters.running) if adapters is not None else []

    def waiting_adapters(self) -> list[str]:
        """LoRA adapters that only waiting requests have, sorted."""
        waiting = {s.request.adapter for s in self.scheduler.waiting if s.request.adapter}
        return sorted(waiting.difference(self.running_adapters()))
