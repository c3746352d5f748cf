"""One replica: its engines (one per data-parallel rank), its phase, and how the gateway sees it.

The gateway counts what it has in flight exactly and knows everything else from scrapes. A scrape is evaluated only when
something is about to change or to look: the engine answers for any moment since its last change. A policy that watches
is told of each scrape, and says when the next one is.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from fairlead.engines import EngineSignals
from fairlead.gateway.pick import Candidate
from fairlead.simulator.engine import Counters, Engine, Sequence, Sketch
from fairlead.simulator.fleet.reports import signals_of

if TYPE_CHECKING:
    from fairlead.simulator.fleet.model import ReplicaModel
    from fairlead.simulator.fleet.nodes import Node
    from fairlead.simulator.fleet.ticket import Ticket


Watcher: TypeAlias = Callable[[str, EngineSignals, float], float]
"""Is told the address, what its engines say and when; returns the seconds until the next scrape."""


class Phase(Enum):
    """Where a replica is in its life."""

    PENDING = "pending"
    """Waits for accelerators."""
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DOWN = "down"
    """Crashed; will start again."""
    GONE = "gone"


class Rank:
    """One engine of a replica. `due_s` is when the agenda has its next step; other entries are void."""

    __slots__ = ("due_s", "engine", "fetching", "replica")

    def __init__(self, replica: Replica, engine: Engine) -> None:
        self.replica = replica
        self.engine = engine
        self.due_s = inf
        self.fetching: list[Ticket] = []
        """Requests of a decode engine whose KV cache a prefill engine still holds."""


class Tally:
    """What the engines of a replica have done, over all its lives."""

    __slots__ = (
        "busy_s", "cached_prompt_tokens", "fetched_tokens", "generation_tokens", "iterations", "preemptions",
        "prefix_hit_tokens", "prefix_queried_tokens", "prompt_tokens", "sequence_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self.busy_s = 0.0
        """Seconds in which an engine computed something; at most ranks × ready time."""
        self.prompt_tokens = 0
        self.cached_prompt_tokens = 0
        self.fetched_tokens = 0
        self.generation_tokens = 0
        self.iterations = 0
        self.preemptions = 0
        self.prefix_queried_tokens = 0
        self.prefix_hit_tokens = 0
        self.sequence_s = 0.0
        """Seconds that requests ran, summed up; over busy_s it is the mean batch."""

    def add(self, other: Tally) -> None:
        """Take over what another one has counted."""
        for name in Tally.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def add_engine(self, engine: Engine) -> None:
        """Take over what an engine has counted; once, when its life ends."""
        counters: Counters = engine.counters
        self.busy_s += counters.busy_s
        self.prompt_tokens += counters.prompt_tokens
        self.cached_prompt_tokens += counters.cached_prompt_tokens
        self.fetched_tokens += counters.fetched_tokens
        self.generation_tokens += counters.generation_tokens
        self.iterations += counters.iterations
        self.preemptions += engine.scheduler.preemptions
        self.prefix_queried_tokens += engine.scheduler.prefix_queried_tokens
        self.prefix_hit_tokens += engine.scheduler.prefix_hit_tokens


class Replica:
    """See the module. Moments in seconds; None = not yet."""

    __slots__ = (
        "_candidate", "_kv_ratio", "_others", "_scraped_s", "address", "crashes", "e2e", "finished_requests", "held_s",
        "holds", "in_flight", "itl", "last_pick", "life", "model", "next_scrape_s", "node", "number", "phase", "picks",
        "pool", "ranks", "ready_s", "ready_since_s", "scrape_interval_s", "since_s", "stale_after_s",
        "tally", "tickets", "ttft", "watcher",
    )  # fmt: skip

    def __init__(
        self,
        pool: str,
        number: int,
        model: ReplicaModel,
        scrape_interval_s: float,
        stale_after_s: float,
        watcher: Watcher | None = None,
    ) -> None:
        self.pool = pool
        self.number = number
        self.address = f"{pool}-{number}"
        self.model = model
        self.phase = Phase.PENDING
        self.ranks: list[Rank] = []
        self.node: Node | None = None
        self.life = 0
        """Which start of the engines this is; what was planned for an earlier one is void."""
        self.tickets: dict[int, Ticket] = {}
        """Requests that are here, by number."""
        self.in_flight = 0
        self.holds = 0
        """Prompts whose KV cache a decode replica has yet to fetch."""
        self.last_pick = 0
        self.picks = 0
        self.crashes = 0
        self.finished_requests = 0
        self.since_s: float | None = None
        """Since when it holds accelerators."""
        self.held_s = 0.0
        """How long it has held accelerators, up to `since_s`."""
        self.ready_since_s: float | None = None
        self.ready_s = 0.0
        self.itl = Sketch()
        self.ttft = Sketch()
        """As clients see it, of the requests that ended here; as is the next."""
        self.e2e = Sketch()
        self.tally = Tally()
        self.scrape_interval_s = scrape_interval_s
        self.stale_after_s = stale_after_s
        self.watcher = watcher
        self.next_scrape_s = inf
        self._scraped_s = -inf
        self._others: int | None = None
        self._kv_ratio: float | None = None
        self._candidate: Candidate | None = None

    def start_engines(self, now_s: float, seed: int) -> None:
        """A new life, with empty caches."""
        self.life += 1
        make = self.model.engine
        self.ranks = [Rank(self, make(seed * 8191 + self.life * 131 + n, self.itl)) for n in range(self.model.ranks)]
        self.next_scrape_s = now_s
        self._scraped_s, self._others, self._kv_ratio = -inf, None, None
        self._candidate = None

    def stop_engines(self) -> list[Sequence]:
        """The end of a life; returns what was being served."""
        lost: list[Sequence] = []
        for rank in self.ranks:
            self.tally.add_engine(rank.engine)
            lost += rank.engine.crash()
            rank.due_s = inf
        self.ranks = []
        self.next_scrape_s = inf
        return lost

    def scrape(self, now_s: float) -> None:
        """Take the metrics of the last scrape up to `now_s`, before anything changes at or after it."""
        if self.watcher is not None:
            self._tell(self.watcher, now_s)
            return
        missed = int((now_s - self.next_scrape_s) / self.scrape_interval_s)
        at_s = min(now_s, self.next_scrape_s + missed * self.scrape_interval_s)
        reported, kv = 0, 0.0
        for rank in self.ranks:
            engine = rank.engine
            reported += engine.num_running + engine.num_waiting
            kv += engine.kv_usage(at_s)
        self._scraped_s = at_s
        self.next_scrape_s = at_s + self.scrape_interval_s
        others = max(0, reported - self.in_flight)
        ratio = kv / len(self.ranks)
        if others != self._others or ratio != self._kv_ratio:
            self._others, self._kv_ratio = others, ratio
            self._candidate = None

    def _tell(self, watcher: Watcher, now_s: float) -> None:
        """Every scrape up to `now_s`, as how often there is one depends on what the last one said."""
        engines = [rank.engine for rank in self.ranks]
        while (at_s := self.next_scrape_s) <= now_s:
            self.next_scrape_s = at_s + watcher(self.address, signals_of(engines, at_s), at_s)

    def changed(self) -> None:
        """What the gateway knows of it is no longer what it was."""
        self._candidate = None

    def candidate(self, now_s: float) -> Candidate:
        """What a decision sees; made again only when something changed."""
        if now_s >= self.next_scrape_s:
            self.scrape(now_s)
        made = self._candidate
        if made is None:
            stale = now_s - self._scraped_s > self.stale_after_s
            made = self._candidate = Candidate(
                self.address,
                self.in_flight,
                None if stale else self._others,
                None if stale else self._kv_ratio,
                True,
                self.last_pick,
            )
        return made
