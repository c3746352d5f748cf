"""Flow control at the edge: tells requests when their turn has come.

A gate belongs to a pool and lives on the event loop. It has no task: it acts when a request enters, when it is poked
(a request ended, an engine reported, endpoints changed) and, only while something waits, by one timer. An idle gate
costs its memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, Protocol

from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.flow.control import Budget, FlowControl, FlowState
from fairlead.gateway.flow.item import DISPATCH, Item, Outcome, Reason, Rejection
from fairlead.gateway.flow.meter import FlowMeter
from fairlead.gateway.flow.saturation import Saturation
from fairlead.gateway.flow.settings import FlowSettings

_LOG = logging.getLogger("fairlead.gateway.flow")

Decided = Callable[[Rejection | None], None]
"""Called once: with None when the request may go on, otherwise with its answer. A request that goes on must be counted
in the loads before this returns, so that the next one sees it."""

Reading = Callable[[float], Saturation]
"""How full the pool is at a monotonic time."""


class Waker(Protocol):
    """Makes the first replica of a pool come."""

    def wanted(self) -> str:
        """Asks for it, again every second while requests wait; returns why they would wait in vain, or nothing."""
        ...

    def story(self) -> str:
        """What was done for it, as a sentence for those who waited in vain; empty when nothing was."""
        ...


TURN_REQUESTS: Final = 64
"""Requests sent in one go before the event loop gets its turn."""

_REUSE_S: Final = 0.02
"""A reading that leaves room for several requests is used for them, but not for longer than this."""

DEFAULT_BUDGET_BYTES: Final = 4_000_000_000
"""Of what waits in all pools of a process."""


class Waiting:
    """A request that waits at a gate, which keeps it in the item's payload."""

    __slots__ = ("_decided", "_gate", "item")

    def __init__(self, gate: Gate, item: Item, decided: Decided) -> None:
        self._gate = gate
        self.item = item
        self._decided: Decided | None = decided

    def abandon(self) -> None:
        """The client has gone; the decision will not be called."""
        self._decided = None
        self._gate.abandon(self.item)

    def decide(self, rejection: Rejection | None) -> None:
        """For the gate alone."""
        decided, self._decided = self._decided, None
        if decided is None:
            return
        try:
            decided(rejection)
        except Exception:
            # The others that wait must not wait for ever.
            _LOG.exception("a request whose turn it was failed")


class Gate:
    """The gate of one pool.

    `read` says how full the pool is. `wake` asks for the first replica of a pool without endpoints; where there is
    none, a request for such a pool is refused at once.
    """

    def __init__(
        self, control: FlowControl, read: Reading, *, pool: str = "", wake: Waker | None = None,
        meter: FlowMeter | None = None, clock: Clock = SYSTEM,
    ) -> None:  # fmt: skip
        self.control = control
        self._read = read
        self._wake = wake
        self._pool = pool
        self._meter = meter
        self._clock = clock
        self._reading: Saturation | None = None
        self._reading_until_s = 0.0
        self._reading_left = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0
        self._is_pumping = False

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return self.control.requests > 0

    def enter(self, item: Item, decided: Decided) -> Waiting | None:
        """A request asks for its turn. None when `decided` was called already, as it is wherever possible."""
        now_s = self._clock.monotonic_s()
        saturation = self._saturation(now_s)
        control = self.control
        if not saturation.has_endpoints and (refusal := self._no_endpoints()):
            decided(self._refused(control.refuse(item, Reason.NO_ENDPOINTS, refusal, now_s), now_s))
            return None
        verdict = control.offer(item, now_s, saturation)
        if verdict is DISPATCH:
            decided(None)
            return None
        if verdict.outcome is Outcome.REJECTED:
            assert verdict.rejection is not None
            decided(self._refused(verdict.rejection, now_s))
            return None
        # Before the evicted ones are answered: whoever hears of it may make it this one's turn.
        waiting = item.payload = Waiting(self, item, decided)
        self._answer(verdict.evicted, now_s)
        self._tell(item.priority)
        self._pump(now_s, saturation)
        return waiting if item.waits else None

    def is_open(self, priority: int) -> bool:
        """Whether a request of this priority would go on at once; asking leaves no trace."""
        return self.control.is_open(priority, self._saturation(self._clock.monotonic_s()))

    def poke(self) -> None:
        """Something changed: a request ended, an engine reported, endpoints came or went."""
        self._reading = None
        if self.control.requests:
            self._pump(self._clock.monotonic_s(), None)

    def reconfigure(self, settings: FlowSettings) -> None:
        """Go on with other settings; what waits stays."""
        if settings != self.control.settings:
            self.control.reconfigure(settings, self._clock.monotonic_s())
            self.poke()

    def abandon(self, item: Item) -> None:
        if self.control.abandon(item):
            self._refused_for(item, Reason.CONTEXT_CANCELLED, self._clock.monotonic_s())
            self._set_timer(None)

    def refuse_all(self, message: str) -> None:
        """No endpoint will come: everything that waits is answered with 503 and this sentence."""
        now_s = self._clock.monotonic_s()
        self._answer(self.control.refuse_all(Reason.NO_ENDPOINTS, message, now_s), now_s)
        self._set_timer(None)

    def close(self) -> None:
        """Refuse everything that waits, and everything that comes."""
        now_s = self._clock.monotonic_s()
        self._answer(self.control.close(now_s), now_s)
        self._set_timer(None)

    # How full

    def _saturation(self, now_s: float) -> Saturation:
        reading = self._reading
        if reading is not None and self._reading_left > 0 and now_s < self._reading_until_s:
            self._reading_left -= 1
            return reading
        reading = self._read(now_s)
        self._reading, self._reading_left = reading, reading.spare_requests
        self._reading_until_s = now_s + _REUSE_S
        return reading

    def _no_endpoints(self) -> str:
        if self._wake is None:
            return "No replica is ready, and the gateway knows none that it could start."
        return self._wake.wanted()

    # Turns

    def _pump(self, now_s: float, saturation: Saturation | None) -> None:
        """Send what may be sent. A decision may enter, poke or abandon here again: the loop sees it."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            self._answer(self.control.expired(now_s), now_s)
            recheck_s = self._send(now_s, saturation)
        finally:
            self._is_pumping = False
        self._set_timer(recheck_s, now_s)

    def _send(self, now_s: float, saturation: Saturation | None) -> float | None:
        """Returns when to look again, in seconds from now; None = when something is heard."""
        for _ in range(TURN_REQUESTS):
            if not self.control.requests:
                return None
            if saturation is None:
                saturation = self._read(now_s)
            item = self.control.next(now_s, saturation)
            if item is None:
                if saturation.has_endpoints or not (refusal := self._no_endpoints()):
                    return saturation.recheck_s
                self._answer(self.control.refuse_all(Reason.NO_ENDPOINTS, refusal, now_s), now_s)
                return None
            saturation = None
            if self._meter is not None:
                self._meter.sent(self._pool, item.priority, now_s - item.queued_s)
                self._tell(item.priority)
            item.payload.decide(None)
        return 0.0

    def _set_timer(self, recheck_s: float | None, now_s: float | None = None) -> None:
        """The one timer: for the next request whose time is up, or to look again."""
        deadline_s = self.control.next_deadline_s()
        if deadline_s is None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return
        if now_s is None:
            # Whoever sets the timer without a look at the pool leaves an earlier one.
            if self._timer is not None and self._timer_at_s <= deadline_s:
                return
            now_s = self._clock.monotonic_s()
        at_s = deadline_s if recheck_s is None else min(deadline_s, now_s + recheck_s)
        if self._timer is not None:
            if self._timer_at_s == at_s:
                return
            self._timer.cancel()
        self._timer_at_s = at_s
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at_s - now_s), self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        now_s = self._clock.monotonic_s()
        # Timers of the loop may fire a little early.
        self._pump(max(now_s, self._timer_at_s), None)

    # Answers

    def _answer(self, rejections: list[Rejection] | tuple[Rejection, ...], now_s: float) -> None:
        for rejection in rejections:
            told = self._refused(rejection, now_s)
            rejection.item.payload.decide(told)

    def _refused(self, rejection: Rejection, now_s: float) -> Rejection:
        self._refused_for(rejection.item, rejection.reason, now_s)
        if rejection.reason is Reason.NO_ENDPOINTS and self._wake is not None:
            story = self._wake.story()
            if story and story not in rejection.message:
                return replace(rejection, message=f"{rejection.message} {story}")
        return rejection

    def _refused_for(self, item: Item, reason: Reason, now_s: float) -> None:
        if self._meter is not None:
            waited_s = now_s - item.queued_s if isinstance(item.payload, Waiting) else 0.0
            self._meter.refused(self._pool, item.priority, reason, waited_s)
            self._tell(item.priority)

    def _tell(self, priority: int) -> None:
        if self._meter is not None:
            self._meter.waiting(self._pool, priority, *self.control.waiting_at(priority))


class Gates:
    """The gates of all pools, made when a pool gets its first request."""

    def __init__(self, make: Callable[[str, Budget], Gate], budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        """`make` builds the gate of a pool, whose control keeps to the budget."""
        self._make = make
        self._budget = Budget(budget_bytes)
        self._gates: dict[str, Gate] = {}
        self._is_closed = False

    def of(self, pool: str) -> Gate:
        gate = self._gates.get(pool)
        if gate is None:
            gate = self._gates[pool] = self._make(pool, self._budget)
            if self._is_closed:
                gate.close()
        return gate

    def poke(self, pool: str) -> None:
        """Something changed in a pool; nothing happens where none of its requests waits."""
        gate = self._gates.get(pool)
        if gate is not None:
            gate.poke()

    def poke_all(self) -> None:
        for gate in list(self._gates.values()):
            gate.poke()

    def settle(self, pool: str, priority: int, fairness_id: str, more_tokens: float) -> None:
        """A request that was sent cost so many tokens more than it was charged, or fewer when negative."""
        gate = self._gates.get(pool)
        if gate is not None:
            gate.control.settle(priority, fairness_id, more_tokens)

    def reconfigure(self, pool: str, settings: FlowSettings) -> None:
        """The pool's settings may be other ones from now on."""
        gate = self._gates.get(pool)
        if gate is not None:
            gate.reconfigure(settings)

    def forget(self, pool: str, message: str = "The model's pool was removed.") -> None:
        """The pool exists no more."""
        gate = self._gates.pop(pool, None)
        if gate is not None:
            gate.refuse_all(message)

    def close(self) -> None:
        """Refuse everything that waits or comes: the process is about to end."""
        self._is_closed = True
        for gate in list(self._gates.values()):
            gate.close()

    def snapshot(self, now_s: float) -> Mapping[str, FlowState]:
        """pool -> what waits there, of pools that had a request."""
        return {pool: gate.control.snapshot(now_s) for pool, gate in self._gates.items()}

    def __iter__(self) -> Iterator[Gate]:
        return iter(self._gates.values())


def default_gate(
    pool: str, budget: Budget, read: Reading, *, settings: FlowSettings | None = None, wake: Waker | None = None,
    meter: FlowMeter | None = None, clock: Clock = SYSTEM,
) -> Gate:  # fmt: skip
    """A gate with the settings given, or the default ones."""
    return Gate(FlowControl(settings, budget), read, pool=pool, wake=wake, meter=meter, clock=clock)
