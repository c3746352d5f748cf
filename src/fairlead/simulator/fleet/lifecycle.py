"""The lives of replicas: start, readiness, drain, crash and return, and how scaling policies make and end them.

Requests are none of its business: whoever owns it is told when replicas become ready and when one dies.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fairlead.simulator.fleet.agenda import Agenda
from fairlead.simulator.fleet.config import FailureSpec, GatewaySpec, NodeSpec, PoolSpec
from fairlead.simulator.fleet.model import ReplicaModel
from fairlead.simulator.fleet.nodes import Nodes
from fairlead.simulator.fleet.replica import Phase, Replica, Watcher
from fairlead.simulator.fleet.scaling import PoolSnapshot, bounded, scaling_named

_MOST_EVENTS = 10_000


class Owner(Protocol):
    """Who sends requests to replicas."""

    def replica_ready(self, now_s: float, replica: Replica) -> None:
        """It takes requests from now on."""
        ...

    def replica_crashes(self, now_s: float, replica: Replica) -> None:
        """It dies now; its engines still answer what they were doing."""
        ...

    def replica_ends(self, replica: Replica) -> None:
        """It serves no more; a crashed one may come back, with nothing of what it had."""
        ...

    def held_requests(self, role: str) -> int:
        """Requests for replicas of this role that wait because none is ready."""
        ...


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a replica, and why."""

    time_s: float
    replica: str
    what: str
    why: str = ""


class Pool:
    """Replicas of one kind; those that are gone stay listed."""

    def __init__(self, spec: PoolSpec, model: ReplicaModel) -> None:
        self.spec = spec
        self.model = model
        self.replicas: list[Replica] = []
        self.arrivals = 0
        """Requests sent here since the last scaling decision."""

    def in_phase(self, *phases: Phase) -> list[Replica]:
        return [replica for replica in self.replicas if replica.phase in phases]


class Lifecycle:
    """Keeps `serving[role]`, the ready replicas by role."""

    def __init__(
        self,
        pools: Sequence[tuple[PoolSpec, ReplicaModel]],
        gateway: GatewaySpec,
        failures: FailureSpec,
        nodes: NodeSpec | None,
        agenda: Agenda,
        owner: Owner,
        seed: int,
        watcher: Watcher | None = None,
    ) -> None:
        self._watcher = watcher
        self.pools = {spec.name: Pool(spec, model) for spec, model in pools}
        self.serving: dict[str, list[Replica]] = {"both": [], "prefill": [], "decode": []}
        self.by_address: dict[str, Replica] = {}
        self.events: list[Event] = []
        self.nodes = Nodes(nodes, agenda, self._granted)
        self._gateway = gateway
        self._failures = failures
        self._agenda = agenda
        self._owner = owner
        self._seed = seed
        self._rng = random.Random(f"failures/{seed}")
        for pool in self.pools.values():
            self._begin(pool)
        for crash in failures.crashes:
            agenda.at(crash.at_s, self._planned_crash, (crash.pool, crash.replica), tick=True)

    @property
    def replicas(self) -> Iterable[Replica]:
        return self.by_address.values()

    def left(self, now_s: float, replica: Replica) -> None:
        """A request has left: a replica that drains may be gone with it."""
        if replica.phase is Phase.DRAINING and not replica.in_flight and not replica.holds:
            self._end(now_s, replica)

    def may_grow(self) -> bool:
        """Whether any policy could still ask for replicas."""
        return any(pool.spec.scaling.policy != "fixed" for pool in self.pools.values())

    # Beginnings

    def _begin(self, pool: Pool) -> None:
        """The pool's first replicas, ready at once, and its policy."""
        for _ in range(pool.spec.replicas):
            replica = self._make(pool)
            self.nodes.place_first(replica)
            replica.since_s = 0.0
            self._become_ready(0.0, replica)
        policy = pool.spec.scaling
        scaling_named(policy.policy)
        if policy.policy != "fixed":
            self._agenda.at(policy.interval_s, self._scale, pool, tick=True)

    def _make(self, pool: Pool) -> Replica:
        gateway = self._gateway
        replica = Replica(
            pool.spec.name, len(pool.replicas), pool.model, gateway.scrape_interval_s, gateway.stale_after_s,
            self._watcher,
        )  # fmt: skip
        pool.replicas.append(replica)
        self.by_address[replica.address] = replica
        return replica

    def _granted(self, now_s: float, replica: Replica) -> None:
        """It has accelerators."""
        replica.phase = Phase.STARTING
        replica.since_s = now_s
        self._start(now_s, replica, self.pools[replica.pool].spec.startup_s)

    def _start(self, now_s: float, replica: Replica, after_s: float) -> None:
        self._agenda.at(now_s + after_s, self._started, (replica, replica.life))

    def _started(self, now_s: float, started: tuple[Replica, int]) -> None:
        replica, life = started
        if replica.phase in (Phase.STARTING, Phase.DOWN) and replica.life == life:
            self._become_ready(now_s, replica)
            self._owner.replica_ready(now_s, replica)

    def _become_ready(self, now_s: float, replica: Replica) -> None:
        pool = self.pools[replica.pool]
        replica.phase = Phase.READY
        replica.ready_since_s = now_s
        replica.start_engines(now_s, self._seed * 1009 + len(self.by_address) * 17 + replica.number)
        self.serving[pool.spec.role].append(replica)
        if now_s > 0:
            self._note(now_s, replica, "ready")
        if self._failures.mtbf_s is not None:
            after_s = self._rng.expovariate(1 / self._failures.mtbf_s)
            self._agenda.at(now_s + after_s, self._random_crash, (replica, replica.life), tick=True)

    # Ends

    def drain(self, now_s: float, replica: Replica, why: str) -> None:
        """No further requests; it is gone when those it has are done. One that is not ready is gone at once."""
        self._note(now_s, replica, "drains" if replica.phase is Phase.READY else "is not wanted any more", why)
        if replica.phase is not Phase.READY:
            self._end(now_s, replica)
            return
        self.serving[self.pools[replica.pool].spec.role].remove(replica)
        replica.phase = Phase.DRAINING
        self.left(now_s, replica)

    def crash(self, now_s: float, replica: Replica) -> None:
        """It dies. A draining one does not come back."""
        self._note(now_s, replica, "crashes", f"{replica.in_flight} requests in flight")
        was_draining = replica.phase is Phase.DRAINING
        if replica.phase is Phase.READY:
            self.serving[self.pools[replica.pool].spec.role].remove(replica)
        replica.crashes += 1
        replica.phase = Phase.DOWN
        self._owner.replica_crashes(now_s, replica)
        self._stop(now_s, replica)
        if was_draining:
            self._end(now_s, replica)
        else:
            self._start(now_s, replica, self._failures.repair_s + self.pools[replica.pool].spec.startup_s)

    def _random_crash(self, now_s: float, planned: tuple[Replica, int]) -> None:
        replica, life = planned
        if replica.life == life and replica.phase in (Phase.READY, Phase.DRAINING):
            self.crash(now_s, replica)

    def _planned_crash(self, now_s: float, planned: tuple[str, int]) -> None:
        name, number = planned
        replicas = self.pools[name].replicas
        if number < len(replicas) and replicas[number].phase in (Phase.READY, Phase.DRAINING):
            self.crash(now_s, replicas[number])
        else:
            self.events.append(Event(now_s, f"{name}-{number}", "does not crash", "it does not serve at this moment"))

    def _stop(self, now_s: float, replica: Replica) -> None:
        replica.stop_engines()
        self._owner.replica_ends(replica)
        if replica.ready_since_s is not None:
            replica.ready_s += now_s - replica.ready_since_s
            replica.ready_since_s = None

    def _end(self, now_s: float, replica: Replica) -> None:
        self._stop(now_s, replica)
        replica.phase = Phase.GONE
        if replica.since_s is not None:
            replica.held_s += now_s - replica.since_s
            replica.since_s = None
        self.nodes.give_back(now_s, replica)

    def close(self, now_s: float) -> None:
        """The study ends: settle what is still running."""
        for replica in self.replicas:
            for rank in replica.ranks:
                rank.engine.advance(now_s)
            self._stop(now_s, replica)
            if replica.since_s is not None:
                replica.held_s += now_s - replica.since_s
                replica.since_s = None

    # Scaling

    def snapshot(self, pool: Pool, now_s: float) -> PoolSnapshot:
        """What a scaling policy may know."""
        ready = pool.in_phase(Phase.READY)
        engines = [rank.engine for replica in ready for rank in replica.ranks]
        return PoolSnapshot(
            pool=pool.spec.name,
            now_s=now_s,
            ready=len(ready),
            starting=len(pool.in_phase(Phase.PENDING, Phase.STARTING)),
            draining=len(pool.in_phase(Phase.DRAINING)),
            down=len(pool.in_phase(Phase.DOWN)),
            running_requests=sum(engine.num_running for engine in engines),
            waiting_requests=sum(engine.num_waiting for engine in engines),
            held_requests=self._owner.held_requests(pool.spec.role),
            kv_cache_usage_ratio=sum(e.kv_usage(now_s) for e in engines) / len(engines) if engines else None,
            arrivals_per_s=pool.arrivals / pool.spec.scaling.interval_s,
        )

    def _scale(self, now_s: float, pool: Pool) -> None:
        spec = pool.spec.scaling
        snapshot = self.snapshot(pool, now_s)
        pool.arrivals = 0
        decision = scaling_named(spec.policy)(snapshot, spec)
        wanted, planned = bounded(decision, spec), snapshot.planned
        for _ in range(planned, wanted):
            replica = self._make(pool)
            self._note(now_s, replica, "is wanted", decision.reason)
            self.nodes.ask(now_s, replica)
        for replica in given_up(pool.replicas, planned - wanted):
            self.drain(now_s, replica, decision.reason)
        self._agenda.at(now_s + spec.interval_s, self._scale, pool, tick=True)

    def _note(self, now_s: float, replica: Replica, what: str, why: str = "") -> None:
        if len(self.events) < _MOST_EVENTS:
            self.events.append(Event(now_s, replica.address, what, why))


_GIVEN_UP = (Phase.PENDING, Phase.DOWN, Phase.STARTING, Phase.READY)
"""Who goes first: those of which nothing is lost yet."""


def given_up(replicas: Sequence[Replica], count: int) -> list[Replica]:
    """The `count` replicas to end: those not ready first, then those with the fewest requests, the youngest first."""
    able = [replica for replica in replicas if replica.phase in _GIVEN_UP]
    able.sort(key=lambda replica: (_GIVEN_UP.index(replica.phase), replica.in_flight, -replica.number))
    return able[: max(0, count)]
