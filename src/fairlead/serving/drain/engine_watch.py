"""Asks the engines of all services what they have in flight, within one budget of looks a second.

The controller says which engines there are (`follow`) and reads what is known of them (`views`); it is called back with
the key of a service only when something is due there that no object of the API tells: a replica that leaves is idle, an
engine hangs, does not answer, or does again. One connection a look, kept where the next look comes soon; a look is over
within `TIMEOUT_S`, and those that do not answer wait in a lane of their own, so that they hold up nobody else.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from fairlead.clock import SYSTEM, Clock
from fairlead.engines import Engine
from fairlead.engines.page_client import PageConnection, PageError, request_for
from fairlead.kube.resources import ObjectKey
from fairlead.serving.drain.pace import URGENCIES, Pace, Urgency, spread, within
from fairlead.serving.drain.reading import Reading, reader_for
from fairlead.serving.drain.sighting import Sighting, Silence, look
from fairlead.serving.drain.step import BETWEEN_LOOKS_S, EMPTY_KV
from fairlead.serving.drain.turns import Turns
from fairlead.serving.observed import EngineView

TIMEOUT_S: Final = 1.0
"""For the connection, and again for the page."""
KEEP_ALIVE_S: Final = 4.0
"""A connection is kept for looks that come within; servers commonly close theirs after five seconds."""
MAX_CONCURRENT: Final = 32
"""Looks under way in each lane."""
REMIND_S: Final = 5.0
"""What is due and still there is said again after so long."""


@dataclass(frozen=True, slots=True)
class Target:
    """An engine to be looked at: the leader of a replica, once its pod has an address."""

    host: str
    port: int
    engine: Engine
    settled_s: float | None = None
    """Wall time from which on an idle engine of a replica that leaves is believed; None where it does not leave."""
    holds_kv: bool = False
    """Whether it also stays until its KV cache was read."""
    hang_s: float = 120.0
    """Without progress, or without an answer, for so long counts as hung; 0: never."""


class _Watched:
    """A target, what is known of it, and when it is looked at next."""

    __slots__ = (
        "connection", "due", "gone", "keep", "once", "service", "sighting", "target", "told_s", "turn", "uid",
        "urgency",
    )  # fmt: skip

    def __init__(self, uid: str, service: ObjectKey, target: Target) -> None:
        self.uid = uid
        self.service = service
        self.target = target
        self.sighting = Sighting()
        self.connection: PageConnection | None = None
        self.urgency: Urgency = "calm"
        self.due: Due = ""
        """What was said last, and `told_s` when."""
        self.told_s = 0.0
        self.turn = 0
        self.gone = False
        self.address()

    def address(self) -> None:
        """Make the requests anew, after the target has changed."""
        host = f"[{self.target.host}]" if ":" in self.target.host else self.target.host
        engine = self.target.engine
        authority = f"{host}:{engine.metrics_port or self.target.port}"
        self.keep = request_for(authority, engine.metrics_path, close=False)
        self.once = request_for(authority, engine.metrics_path, close=True)


class _Lane:
    def __init__(self) -> None:
        self.active = 0
        self.waiting: deque[_Watched] = deque()


class EngineWatch:
    """`run` it beside the controller; everything else is called from the same loop."""

    def __init__(self, notify: Callable[[ObjectKey], None], *, pace: Pace | None = None, clock: Clock = SYSTEM) -> None:
        """`notify` is told the key of a service of which something is due; to be short: put the key on a queue."""
        self._notify = notify
        self._pace = pace or Pace()
        self._clock = clock
        self._of: dict[ObjectKey, dict[str, _Watched]] = {}
        self._count: Counter[Urgency] = Counter()
        self._turns: dict[Urgency, Turns[_Watched]] = {u: Turns(self._pace.of(u).per_s) for u in URGENCIES}
        self._lanes = {(urgency, silent): _Lane() for urgency in URGENCIES for silent in (False, True)}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: tuple[float, asyncio.TimerHandle] | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self.looks = 0
        """How many were begun."""

    def follow(self, service: ObjectKey, targets: Mapping[str, Target]) -> None:
        """The engines of a service, all of them, by uid of the pod. To be called whenever they may have changed."""
        own = self._of.setdefault(service, {})
        for uid in [uid for uid in own if uid not in targets]:
            self._drop(own.pop(uid))
        for uid, target in targets.items():
            watched = own.get(uid)
            if watched is None:
                self._add(own, uid, service, target)
            elif watched.target != target:
                self._change(watched, target)
        if not own:
            del self._of[service]

    def forget(self, service: ObjectKey) -> None:
        """A service is gone."""
        self.follow(service, {})

    def views(self, service: ObjectKey) -> dict[str, EngineView]:
        """What is known of its engines, by uid of the pod; of those that were never looked at nothing."""
        own = self._of.get(service, {})
        return {uid: watched.sighting.view for uid, watched in own.items() if watched.turn}

    async def run(self) -> None:
        """Look until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            self._start_due()
            await asyncio.Event().wait()
        finally:
            self._loop = None
            if self._timer is not None:
                self._timer[1].cancel()
                self._timer = None
            for task in list(self._connecting):
                task.cancel()
            for own in self._of.values():
                for watched in own.values():
                    _hang_up(watched)

    def _add(self, own: dict[str, _Watched], uid: str, service: ObjectKey, target: Target) -> None:
        watched = own[uid] = _Watched(uid, service, target)
        self._count["calm"] += 1
        self._weigh(watched)
        # Engines that come together, as at the start, are first looked at over one whole turn.
        after_s = 0.0 if watched.urgency == "leaving" else within(self._interval_s(watched), uid)
        self._schedule(watched, self._clock.monotonic_s() + after_s)

    def _change(self, watched: _Watched, target: Target) -> None:
        before, watched.target = watched.target, target
        if (before.host, before.port, before.engine) != (target.host, target.port, target.engine):
            _hang_up(watched)
            watched.sighting = Sighting()
            watched.address()
        was = watched.urgency
        self._weigh(watched)
        # One that is being looked at just now gets its next turn when that is over.
        if watched.urgency != was and self._turns[was].remove(watched):
            self._schedule(watched, self._clock.monotonic_s())

    def _drop(self, watched: _Watched) -> None:
        watched.gone = True
        self._turns[watched.urgency].remove(watched)
        self._count[watched.urgency] -= 1
        _hang_up(watched)

    def _weigh(self, watched: _Watched) -> None:
        """How urgent it is now."""
        urgency: Urgency = "calm"
        if watched.target.settled_s is not None:
            urgency = "leaving"
        elif watched.sighting.is_suspect:
            urgency = "suspect"
        elif watched.sighting.view.in_flight:
            urgency = "busy"
        if urgency != watched.urgency:
            self._count[watched.urgency] -= 1
            self._count[urgency] += 1
            watched.urgency = urgency

    # When

    def _schedule(self, watched: _Watched, at_s: float) -> None:
        turns = self._turns[watched.urgency]
        turns.put(watched, at_s)
        self._set_timer(turns.next_s(self._clock.monotonic_s()) or at_s)

    def _set_timer(self, at_s: float) -> None:
        if self._loop is None:
            return
        if self._timer is not None:
            if self._timer[0] <= at_s:
                return
            self._timer[1].cancel()
        after_s = max(0.0, at_s - self._clock.monotonic_s())
        self._timer = (at_s, self._loop.call_later(after_s, self._start_due))

    def _start_due(self) -> None:
        if self._timer is not None:
            self._timer[1].cancel()
            self._timer = None
        # Timers of the loop have a resolution of a millisecond.
        until_s = self._clock.monotonic_s() + 0.001
        for turns in self._turns.values():
            while (watched := turns.take(until_s)) is not None:
                lane = self._lanes[watched.urgency, watched.sighting.view.unreachable_s is not None]
                if lane.active < MAX_CONCURRENT:
                    self._ask(watched, lane)
                else:
                    lane.waiting.append(watched)
        coming = [at_s for turns in self._turns.values() if (at_s := turns.next_s(until_s)) is not None]
        if coming:
            self._set_timer(min(coming))

    # How

    def _ask(self, watched: _Watched, lane: _Lane) -> None:
        loop = self._loop
        if loop is None or watched.gone:
            return
        lane.active += 1
        self.looks += 1
        connection = watched.connection
        if connection is not None and connection.free:
            connection.ask(watched.keep, TIMEOUT_S, lambda outcome: self._asked_again(watched, lane, outcome))
        else:
            self._connect_soon(loop, watched, lane)

    def _asked_again(self, watched: _Watched, lane: _Lane, outcome: bytes | PageError) -> None:
        """On a connection that was kept, which may just have been too old."""
        loop = self._loop
        if isinstance(outcome, PageError) and outcome.lost and not watched.gone and loop is not None:
            self._connect_soon(loop, watched, lane)
        else:
            self._answered(watched, lane, outcome)

    def _connect_soon(self, loop: asyncio.AbstractEventLoop, watched: _Watched, lane: _Lane) -> None:
        task = loop.create_task(self._connect(loop, watched, lane))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, loop: asyncio.AbstractEventLoop, watched: _Watched, lane: _Lane) -> None:
        target = watched.target
        port = target.engine.metrics_port or target.port
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, connection = await loop.create_connection(lambda: PageConnection(loop), target.host, port)
        except TimeoutError:
            self._over(watched, lane, Silence(f"no connection within {TIMEOUT_S:g} s", False))
        except OSError as error:
            self._over(watched, lane, Silence(str(error), False))
        else:
            if watched.gone or not connection.free:
                connection.close()
                self._over(watched, lane, Silence("connection lost before the page was whole", True))
                return
            watched.connection = connection
            keeps = self._interval_s(watched) <= KEEP_ALIVE_S
            request = watched.keep if keeps else watched.once
            connection.ask(request, TIMEOUT_S, lambda outcome: self._answered(watched, lane, outcome))

    def _answered(self, watched: _Watched, lane: _Lane, outcome: bytes | PageError) -> None:
        if isinstance(outcome, bytes):
            self._over(watched, lane, reader_for(watched.target.engine)(outcome))
        elif outcome.answered:
            # Somebody is there, who does not tell.
            self._over(watched, lane, Reading())
        else:
            own_port = watched.target.engine.metrics_port is not None
            self._over(watched, lane, Silence(outcome.message, not own_port))

    def _over(self, watched: _Watched, lane: _Lane, found: Reading | Silence) -> None:
        lane.active -= 1
        if lane.waiting and self._loop is not None:
            self._loop.call_soon(self._ask_next, lane)
        if watched.gone or self._loop is None:
            return
        watched.sighting = look(watched.sighting, found, self._clock.wall_s())
        watched.turn += 1
        self._weigh(watched)
        interval_s = self._interval_s(watched)
        if interval_s > KEEP_ALIVE_S or isinstance(found, Silence):
            _hang_up(watched)
        self._schedule(watched, self._clock.monotonic_s() + spread(interval_s, watched.uid, watched.turn))
        self._tell(watched)

    def _ask_next(self, lane: _Lane) -> None:
        while lane.waiting and lane.active < MAX_CONCURRENT:
            self._ask(lane.waiting.popleft(), lane)

    def _interval_s(self, watched: _Watched) -> float:
        return self._pace.interval_s(watched.urgency, self._count[watched.urgency])

    # Whom it concerns

    def _tell(self, watched: _Watched) -> None:
        due = due_of(watched.target, watched.sighting.view, self._clock.wall_s())
        now_s = self._clock.monotonic_s()
        is_news = due != watched.due and (bool(due) or watched.due in ("hung", "silent"))
        watched.due = due
        if is_news or (due and now_s - watched.told_s >= REMIND_S):
            watched.told_s = now_s
            self._notify(watched.service)


Due = Literal["", "idle", "hung", "silent"]


def due_of(target: Target, view: EngineView, now_s: float) -> Due:
    """What the controller is to know of an engine at once: it leaves and is `idle`, it has `hung`, or it has been
    `silent` for as long as a hang takes; empty for nothing. `now_s` is wall time. Pure."""
    seen_s, settled_s = view.seen_s, target.settled_s
    if seen_s is None:
        # It may still be starting.
        return ""
    if view.unreachable_s is not None:
        return "silent" if 0 < target.hang_s <= now_s - view.unreachable_s else ""
    if view.stalled_s is not None:
        return "hung" if 0 < target.hang_s <= seen_s - view.stalled_s else ""
    if settled_s is None or view.idle_s is None or seen_s - max(view.idle_s, settled_s) < BETWEEN_LOOKS_S:
        return ""
    is_held = target.holds_kv and view.kv_usage is not None and view.kv_usage > EMPTY_KV
    return "" if is_held else "idle"


def _hang_up(watched: _Watched) -> None:
    if watched.connection is not None:
        watched.connection.close()
        watched.connection = None
