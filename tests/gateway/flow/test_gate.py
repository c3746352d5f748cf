"""Requests at a pool's gate: on a real event loop, over a real table of loads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from fairlead.clock import SYSTEM
from fairlead.gateway.flow import (
    NO_ENDPOINTS,
    Budget,
    FlowControl,
    FlowSettings,
    Gate,
    Gates,
    Item,
    Limits,
    Reason,
    Rejection,
    Saturation,
    concurrency_detector,
)
from fairlead.gateway.flow.gate import TURN_REQUESTS
from fairlead.gateway.load import LoadTable
from patience import PATIENCE_S


@dataclass
class Telling:
    """A meter that remembers."""

    sent_after_s: list[float] = field(default_factory=list)
    refusals: list[Reason] = field(default_factory=list)
    level: dict[int, tuple[int, int]] = field(default_factory=dict)

    def waiting(self, pool: str, priority: int, requests: int, size_bytes: int) -> None:
        self.level[priority] = (requests, size_bytes)

    def sent(self, pool: str, priority: int, waited_s: float) -> None:
        self.sent_after_s.append(waited_s)

    def refused(self, pool: str, priority: int, reason: Reason, waited_s: float) -> None:
        self.refusals.append(reason)


@dataclass
class Starting:
    """A first replica that comes when the test says so."""

    refusal: str = ""
    told: str = ""
    asked: int = 0

    def wanted(self) -> str:
        self.asked += 1
        return self.refusal

    def story(self) -> str:
        return self.told


class Pool:
    """One pool with a gate; each endpoint takes so many requests at a time."""

    def __init__(self, each: int = 2, endpoints: int = 1, wake: Starting | None = None, **options: object) -> None:
        self.loads = LoadTable("test")
        self.addresses = [f"10.0.0.{n}:8000" for n in range(endpoints)]
        self.detect = concurrency_detector(each)
        self.meter = Telling()
        self.readings = 0
        self.control = FlowControl(FlowSettings(**options))  # type: ignore[arg-type]
        self.gate = Gate(self.control, self.read, pool="p", wake=wake, meter=self.meter)
        self.answers: dict[str, Rejection | str] = {}
        """name -> its rejection, or the pick id."""
        self.order: list[str] = []

    def read(self, now_s: float) -> Saturation:
        self.readings += 1
        return self.detect(self.loads.candidates(self.addresses, now_s))

    def ask(self, name: str, item: Item | None = None, after: Callable[[], None] | None = None) -> object:
        def decided(rejection: Rejection | None) -> None:
            assert name not in self.answers, f"{name} was answered twice"
            if rejection is None:
                self.order.append(name)
                address = min(self.addresses, key=lambda a: self.loads.of(a).candidate.in_flight)
                self.answers[name] = self.loads.picked(address, SYSTEM.monotonic_s())
            else:
                self.answers[name] = rejection
            if after is not None:
                after()

        return self.gate.enter(item or Item(), decided)

    def end(self, name: str) -> None:
        pick_id = self.answers[name]
        assert isinstance(pick_id, str)
        self.loads.ended(pick_id)
        self.gate.poke()

    def rejection(self, name: str) -> Rejection:
        answer = self.answers[name]
        assert isinstance(answer, Rejection)
        return answer


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_requests_go_on_at_once_while_there_is_room_and_then_in_turn() -> None:
    pool = Pool(each=2)
    assert pool.gate.is_open(0)
    assert pool.ask("a") is None
    assert pool.ask("b") is None
    assert not pool.gate.is_open(0)
    assert pool.ask("c", Item(0)) is not None
    assert pool.ask("d", Item(5)) is not None
    assert pool.meter.level == {0: (1, 0), 5: (1, 0)}
    pool.end("a")
    pool.end("b")
    assert pool.order == ["a", "b", "d", "c"]
    assert len(pool.meter.sent_after_s) == 2
    assert pool.meter.level == {0: (0, 0), 5: (0, 0)}
    assert pool.gate._timer is None, "nothing waits, nothing ticks"


async def test_time_is_up_though_nothing_happens() -> None:
    pool = Pool(each=1, ttl_s=0.05)
    pool.ask("a")
    pool.ask("b")
    pool.ask("c", Item(ttl_s=0.02))
    await until(lambda: len(pool.answers) == 3)
    assert {pool.rejection(name).reason for name in "bc"} == {Reason.TTL_EXPIRED}
    assert pool.meter.refusals == [Reason.TTL_EXPIRED] * 2
    assert pool.gate._timer is None


async def test_a_client_that_goes_is_never_called() -> None:
    pool = Pool(each=1)
    pool.ask("a")
    waiting = pool.ask("b")
    pool.ask("c")
    waiting.abandon()  # type: ignore[attr-defined]
    waiting.abandon()  # type: ignore[attr-defined]
    pool.end("a")
    assert pool.order == ["a", "c"]
    assert "b" not in pool.answers
    assert pool.meter.refusals == [Reason.CONTEXT_CANCELLED]
    last = pool.ask("d")
    last.abandon()  # type: ignore[attr-defined]
    assert pool.gate._timer is None


async def test_a_queue_moves_without_news_when_only_time_makes_room() -> None:
    pool = Pool()
    opens_s = SYSTEM.monotonic_s() + 0.05
    pool.gate._read = lambda now_s: Saturation(0.0 if now_s >= opens_s else 1.0, "full", True, 0.01)
    pool.ask("a")
    assert pool.answers == {}
    await until(lambda: "a" in pool.answers)


async def test_a_decision_that_fails_or_asks_again_holds_up_nobody() -> None:
    pool = Pool(each=1)
    pool.ask("a")

    def fail() -> None:
        raise RuntimeError("broken")

    pool.ask("b", after=fail)
    pool.ask("c", after=lambda: pool.ask("d") and None)
    pool.ask("e")
    pool.end("a")
    pool.end("b")
    pool.end("c")
    pool.end("e")
    assert pool.order == ["a", "b", "c", "e", "d"]


async def test_an_eviction_that_makes_it_the_newcomers_turn() -> None:
    pool = Pool(each=1, band_limits=Limits(requests=1), whole_limits=Limits(requests=1))
    pool.ask("a")
    pool.ask("b", Item(0), after=lambda: pool.end("a"))
    assert pool.ask("c", Item(5)) is None
    assert pool.rejection("b").reason is Reason.EVICTED_PRIORITY
    assert pool.order == ["a", "c"]


async def test_a_large_queue_leaves_the_loop_its_turns() -> None:
    pool = Pool(each=1)
    pool.ask("a")
    many = 5 * TURN_REQUESTS
    for number in range(many):
        pool.ask(f"q{number}")
    pool.detect = concurrency_detector(10 * many)
    pool.gate.poke()
    assert len(pool.order) == 1 + TURN_REQUESTS
    await until(lambda: len(pool.order) == 1 + many)


async def test_settings_change_under_those_that_wait() -> None:
    pool = Pool(each=1, ttl_s=60.0)
    for name in "abc":
        pool.ask(name)
    gates = Gates(lambda key, budget: pool.gate)
    gates.of("p")
    gates.reconfigure("p", pool.control.settings)
    gates.reconfigure("unknown", FlowSettings())
    pool.end("a")
    assert pool.order == ["a", "b"]
    gates.reconfigure("p", FlowSettings(ttl_s=0.02))
    await until(lambda: "c" in pool.answers)
    assert pool.rejection("c").reason is Reason.TTL_EXPIRED


async def test_closing_answers_all() -> None:
    pool = Pool(each=1)
    for name in "abc":
        pool.ask(name)
    pool.gate.close()
    pool.ask("d")
    assert {pool.rejection(name).reason for name in "bcd"} == {Reason.SHUTTING_DOWN}
    assert pool.gate._timer is None


async def test_without_endpoints_and_nothing_to_start_the_answer_comes_at_once() -> None:
    pool = Pool(endpoints=0)
    assert pool.ask("a") is None
    refused = pool.rejection("a")
    assert (refused.reason, refused.status) == (Reason.NO_ENDPOINTS, 503)
    assert "none that it could start" in refused.message


async def test_requests_wait_for_the_first_replica() -> None:
    wake = Starting()
    pool = Pool(endpoints=0, wake=wake)
    assert pool.read(0.0) is NO_ENDPOINTS
    for name in "abc":
        assert pool.ask(name) is not None
    assert wake.asked >= 3
    pool.addresses = ["10.0.0.9:8000"]
    pool.gate.poke()
    assert pool.order == ["a", "b"]
    pool.end("a")
    assert pool.order == ["a", "b", "c"]


async def test_those_that_wait_in_vain_are_told_why() -> None:
    wake = Starting(told="Deployment default/x wants 1 replica(s), of which none is ready yet.")
    pool = Pool(endpoints=0, wake=wake, no_endpoints_ttl_s=0.03)
    pool.ask("a")
    await until(lambda: "a" in pool.answers)
    refused = pool.rejection("a")
    assert (refused.reason, refused.status) == (Reason.NO_ENDPOINTS, 503)
    assert refused.message.startswith("No replica became ready within 0 s. Deployment default/x wants 1")
    pool = Pool(endpoints=0, wake=wake)
    pool.ask("b")
    wake.refusal = "No replica is ready, and none can be started: it is forbidden."
    pool.gate.poke()
    assert "it is forbidden" in pool.rejection("b").message
    assert pool.ask("c") is None
    assert "it is forbidden" in pool.rejection("c").message


async def test_a_pool_that_is_far_from_full_is_not_looked_at_for_every_request() -> None:
    pool = Pool(each=1_000)
    for number in range(90):
        pool.ask(str(number))
    assert len(pool.order) == 90
    assert pool.readings <= 40
    # A reading near the brink is never used twice.
    pool = Pool(each=2)
    for number in range(5):
        pool.ask(str(number))
    assert len(pool.order) == 2


async def test_every_request_of_a_storm_is_answered_once() -> None:
    draw = random.Random(7)
    pool = Pool(each=3, endpoints=2, ttl_s=0.15, band_limits=Limits(requests=20), whole_limits=Limits(requests=30))
    gone, ended = set(), set()
    held: dict[str, object] = {}
    for number in range(1_500):
        name = str(number)
        ttl_s = draw.choice([None, 0.01, 0.05])
        item = Item(draw.choice([-1, 0, 7]), draw.choice("abc"), draw.uniform(1, 500), 100, None, ttl_s)
        waiting = pool.ask(name, item)
        if waiting is not None:
            held[name] = waiting
        if draw.random() < 0.1 and held:
            name, waiting = held.popitem()
            waiting.abandon()  # type: ignore[attr-defined]
            if name not in pool.answers:
                gone.add(name)
        running = [n for n, a in pool.answers.items() if isinstance(a, str) and n not in ended]
        if running and draw.random() < 0.6:
            name = draw.choice(running)
            ended.add(name)
            pool.end(name)
        if number % 20 == 0:
            await asyncio.sleep(0.005)
    await until(lambda: not pool.gate)
    assert set(pool.answers) | gone == {str(n) for n in range(1_500)}
    assert not set(pool.answers) & gone
    assert pool.control.size_bytes == 0
    reasons = {a.reason for a in pool.answers.values() if isinstance(a, Rejection)}
    assert reasons >= {Reason.TTL_EXPIRED, Reason.SATURATED}


async def test_idle_gates_have_no_task_and_no_timer() -> None:
    before = len(asyncio.all_tasks())
    pools = {f"ns/{n}": Pool() for n in range(1_000)}
    budgets: set[int] = set()

    def make(key: str, budget: Budget) -> Gate:
        budgets.add(id(budget))
        return pools[key].gate

    gates = Gates(make)
    for key in pools:
        assert gates.of(key) is gates.of(key)
    gates.poke_all()
    gates.poke("unknown")
    assert len(asyncio.all_tasks()) == before
    assert all(gate._timer is None for gate in gates)
    assert len(budgets) == 1, "what waits anywhere counts against one budget"
    busy = pools["ns/5"]
    for name in "abc":
        busy.ask(name)
    assert gates.snapshot(0.0)["ns/5"].requests == 1
    gates.forget("ns/5")
    assert "removed" in busy.rejection("c").message
    gates.close()
    pools["ns/6"].ask("late")
    assert pools["ns/6"].rejection("late").reason is Reason.SHUTTING_DOWN
