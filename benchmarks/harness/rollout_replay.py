"""Rollouts replayed through the simulated engine: two versions whose times come from batching, as on a real engine.

Nothing of the analysis is assumed here. Engines run iterations; how long one takes depends on the requests in it, on
their contexts and on the prompts that are computed beside them, so that times are no straight line in anything. What is
reported comes from the picker's own accounting (`gateway.load`, `gateway.observe.traffic`), and the steps, the replicas
of each and the share of the traffic are those of a canary. A worse version has slower iterations, shorter answers or
failures. Time is virtual.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from fairlead.api.model_service import Analysis
from fairlead.api.traffic_report import TrafficReport, asked_for
from fairlead.gateway.asked import Asked
from fairlead.gateway.endpoints import Change, Pool, Registry
from fairlead.gateway.load import LoadTable
from fairlead.gateway.membership import REVISION_LABEL
from fairlead.gateway.observe.traffic import PoolTraffic, Traffic
from fairlead.gateway.route import Completion
from fairlead.perf.step import LinearCost
from fairlead.serving.analysis import Arm, Arms, Evidence, gather, judge
from fairlead.simulator.engine import Engine, EngineSettings, Request

WEIGHTS: Final = (5, 20, 50)
WARM_UP: Final = 20
BEFORE_S: Final = 30.0
"""How long the stable version serves alone."""
COST: Final = LinearCost(0.008, 4e-5, 1e-9, 1.2e-4, 3e-8)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the traffic and the fleet are like."""

    replicas: int = 4
    per_s: float = 24.0
    prompt: tuple[float, float] = (6.2, 1.2)
    """Mean and standard deviation of the logarithm of tokens."""
    answer: tuple[float, float] = (5.1, 0.7)
    bursts: bool = False
    """A fifth to more than twice the rate, for 8 s in the mean."""
    users: int = 0
    """So few, each with prompts and answers alike; one has half of all requests. 0: all requests are unlike."""
    drift: float = 1.0
    """By how much all engines get slower half-way."""
    requests: int = 8000
    """In all, after which an undecided rollout is given up."""


@dataclass(frozen=True, slots=True)
class Worse:
    """What the new version does: factors of its iterations' times and of its answers, and what fails besides."""

    slower: float = 1.0
    length: float = 1.0
    failed: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a rollout ended, with the requests of the new version until then and what each measure had come to."""

    outcome: str
    requests: int
    verdicts: dict[str, str]


class _Replica:
    """One engine behind the picker."""

    def __init__(self, address: str, revision: str, slower: float, seed: int) -> None:
        self.address, self.revision, self.slower = address, revision, slower
        self.engine = Engine(EngineSettings(jitter=0.05, num_blocks=40_000), _scaled(slower), seed=seed)
        self.due_s = math.inf
        self.open: dict[str, tuple[Any, float]] = {}


class _Now:
    """The replay's time as a clock."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def wall_s(self) -> float:
        return self.at_s

    def monotonic_s(self) -> float:
        return self.at_s

    async def sleep(self, duration_s: float) -> None:
        raise NotImplementedError("nothing sleeps in a replay")


class _Listeners:
    """A registry whose pools are set by the replay."""

    def on_change(self, listener: Callable[[Change], None]) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Head:
    received_s: float


@dataclass(frozen=True, slots=True)
class _Pool:
    key: str
    reports: str
    addresses: tuple[str, ...] = ()
    endpoints: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class _Endpoint:
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Plan:
    pool: _Pool
    by_address: dict[str, _Endpoint]


@dataclass(frozen=True, slots=True)
class _Query:
    prompt_tokens: int
    model: str = "m"


@dataclass(frozen=True, slots=True)
class _Streamed:
    stream: bool = True


@dataclass(frozen=True, slots=True)
class _Sent:
    """What the picker's accounting reads of a request."""

    plan: _Plan
    query: _Query
    head: _Head
    request: _Streamed = _Streamed()
    matched_tokens: int = 0


class Replay:
    """One rollout's traffic; `run_to` goes on to a moment."""

    def __init__(self, scenario: Scenario, worse: Worse, seed: int) -> None:
        self.scenario, self.worse, self.random = scenario, worse, random.Random(seed)
        self.now, self.loads = _Now(), LoadTable("replay")
        self.traffic = Traffic(cast(Registry, _Listeners()), self.loads, self.now)
        count = scenario.replicas
        self.stable = [_Replica(f"s{i}:1", "old", 1.0, 100 * seed + i) for i in range(count)]
        self.new = [_Replica(f"n{i}:1", "new", worse.slower, 100 * seed + 50 + i) for i in range(count)]
        self.pools = {"stable": _Pool("stable", ""), "canary": _Pool("canary", "")}
        self.weight, self.of_new, self.of_stable, self.arrived = 0, 1, count, 0
        self._events: list[tuple[float, int, _Replica]] = []
        self._number, self._next_s, self._burst, self._burst_end_s = 0, 0.0, 1.0, 0.0
        self._users = [(self.random.gauss(*scenario.prompt), self.random.gauss(*scenario.answer))
                       for _ in range(scenario.users)]  # fmt: skip

    def ask(self, asked: str) -> None:
        """Both pools ask for reports under this name."""
        for key in self.pools:
            self.pools[key] = _Pool(key, asked)
            self.traffic.pools[key] = PoolTraffic(asked, 0.0, WARM_UP)

    def reports(self) -> list[TrafficReport]:
        return [
            TrafficReport({"name": key}, pool=key, picker="p", asked=pool.reports,
                          groups=self.traffic.groups(cast(Pool, pool)))
            for key, pool in self.pools.items()
        ]  # fmt: skip

    def run_to(self, until_s: float) -> None:
        while (at_s := min(self._next_s, self._events[0][0] if self._events else math.inf)) <= until_s:
            self.now.at_s = at_s
            if self._events and self._events[0][0] <= self._next_s:
                _, _, replica = heapq.heappop(self._events)
                if replica.due_s == at_s:
                    replica.due_s = math.inf
                    replica.engine.advance(at_s)
                    self._take(replica)
            else:
                self._arrive()
                self._next_s += self.random.expovariate(self._rate())
        self.now.at_s = until_s

    def slow_down(self) -> None:
        """All engines, by the scenario's drift."""
        for replica in (*self.stable, *self.new):
            replica.engine.cost = _scaled(replica.slower * self.scenario.drift)

    def _rate(self) -> float:
        if not self.scenario.bursts:
            return self.scenario.per_s
        if self.now.at_s >= self._burst_end_s:
            self._burst_end_s = self.now.at_s + self.random.expovariate(1.0 / 8.0)
            self._burst = self.random.choice((0.2, 0.5, 1.0, 2.3))
        return self.scenario.per_s * self._burst

    def _lengths(self) -> tuple[int, int]:
        draw, scenario = self.random, self.scenario
        if self._users:
            prompt, answer = self._users[0 if draw.random() < 0.5 else draw.randrange(len(self._users))]
            logs = draw.gauss(prompt, 0.1), draw.gauss(answer, 0.15)
        else:
            logs = draw.gauss(*scenario.prompt), draw.gauss(*scenario.answer)
        return min(60_000, int(math.exp(logs[0])) + 1), min(8000, int(math.exp(logs[1])) + 1)

    def _arrive(self) -> None:
        draw, now_s = self.random, self.now.at_s
        is_new = 100.0 * draw.random() < self.weight
        prompt, answer = self._lengths()
        serving = self.new[: self.of_new] if is_new else self.stable[: self.of_stable]
        replica = min(serving, key=lambda r: (len(r.open), draw.random()))
        self.arrived += 1
        pool = self.pools["canary" if is_new else "stable"]
        plan = _Plan(pool, {replica.address: _Endpoint({REVISION_LABEL: replica.revision})})
        sent = cast(Asked, _Sent(plan, _Query(prompt), _Head(now_s)))
        pick = self.loads.picked(replica.address, now_s, prompt_tokens=prompt, output_tokens=answer, tag=sent)
        self.traffic.began(sent, pick)
        if draw.random() < 0.002 + (self.worse.failed if is_new else 0.0):
            self._ended(sent, Completion(pick, 503, 0.0))
            return
        if is_new:
            answer = max(1, int(answer * self.worse.length + draw.random()))
        replica.engine.submit(now_s, Request(pick, prompt, answer))
        replica.open[pick] = sent, now_s
        self._take(replica)

    def _take(self, replica: _Replica) -> None:
        """What an engine has ended, and when it goes on."""
        engine = replica.engine
        for one in engine.finished:
            sent, began_s = replica.open.pop(str(one.request.id))
            first_s, last_s = one.first_token_s - began_s, one.finished_s - began_s
            end = Completion(str(one.request.id), 200, last_s, first_s, last_s, output_tokens=one.generated_tokens)
            self._ended(sent, end)
        engine.finished.clear()
        if engine.next_s != replica.due_s and engine.next_s < math.inf:
            replica.due_s, self._number = engine.next_s, self._number + 1
            heapq.heappush(self._events, (engine.next_s, self._number, replica))

    def _ended(self, sent: Asked, end: Completion) -> None:
        request = self.loads.ended(end.pick_id)
        assert request is not None
        self.traffic.ended(sent, request, end)


def roll_out(scenario: Scenario, worse: Worse, seed: int, analysis: Analysis, *, balanced: bool = True) -> Ended:
    """A canary with the default steps, read once a second. `balanced`: as many stable replicas as its share is."""
    replay, evidence = Replay(scenario, worse, seed), Evidence(Arms(Arm("new"), Arm("old")))
    replay.run_to(BEFORE_S)
    second, outcome, asked = BEFORE_S, "Undecided", ""
    step = -1
    while replay.arrived < scenario.requests:
        if step < 0 or (step < len(WEIGHTS) - 1 and evidence.step_requests >= analysis.min_requests):
            step += 1
            replay.weight = WEIGHTS[step]
            replay.of_new, replay.of_stable = replicas(scenario.replicas, replay.weight, balanced=balanced)
            asked = asked_for(f"new.0.{step}.{replay.weight}", WARM_UP)
            replay.ask(asked)
        second += 1.0
        replay.run_to(second)
        if scenario.drift != 1.0 and replay.arrived > scenario.requests / 2:
            replay.slow_down()
        before = evidence.batches
        evidence = gather(evidence, replay.reports(), asked, second)
        if evidence.batches is not before:
            verdict, evidence = judge(evidence, analysis, 0.0, second)
            if verdict.outcome == "Worse" or (verdict.outcome == "AsGood" and step == len(WEIGHTS) - 1):
                outcome = verdict.outcome
                break
    return Ended(outcome, evidence.total.new.requests, dict(evidence.settled))


def replicas(total: int, weight: int, *, balanced: bool) -> tuple[int, int]:
    """Of the new version and of the stable one, with a surge of one; as `serving.rollout.trial`."""
    new = min(total, max(1, -(-weight * total // 100)))
    most = min(total, total + 1 - new)
    return new, min(most, max(1, total - new, round(new * (100 - weight) / weight))) if balanced else most


def median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else math.nan


def _scaled(factor: float) -> LinearCost:
    c = COST
    return LinearCost(
        c.base_s * factor, c.prefill_token_s * factor, c.prefill_pair_s * factor, c.decode_token_s * factor,
        c.context_s * factor,
    )  # fmt: skip
