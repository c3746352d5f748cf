"""What flow control costs a request, and what it is worth when a pool has more to do than it can.

Costs are CPU time of one core: the way past an empty queue, waiting and going on among 100,000 requests of 50 tenants,
leaving early, and a look at ten endpoints.

The study replays one overload on a simulated fleet (4 replicas, prompts of 1,500 tokens and answers of 250 on average,
long-tailed; one tenant floods at thirty times the rate of another; a tenth of the requests is important and a quarter
may be shed) through the live picker with its default profile: without flow control, with the default detector and the
filter that goes with it, and with the two detectors of llm-d's picker at their defaults.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from fairlead.gateway.flow import (
    Detector,
    FlowControl,
    FlowSettings,
    Gate,
    Item,
    Limits,
    Outcome,
    Saturation,
    concurrency_detector,
    headroom_detector,
    utilization_detector,
)
from fairlead.gateway.pick import Candidate, NamedFilter, Speed
from fairlead.gateway.pick.filters.room import RoomParameters, keep_room
from fairlead.simulator.fleet import DEFAULT_ACCELERATOR, DEFAULT_MODEL, Fleet, GatewaySpec, PoolSpec, replica_model
from fairlead.simulator.fleet.picking import PickerPolicy
from fairlead.simulator.fleet.policy import End
from fairlead.simulator.fleet.ticket import FAILED, FINISHED, Ticket
from fairlead.workload import TraceRequest
from harness.report import Figure, arguments, report

WIDE = FlowSettings(band_limits=Limits(10**6, 10**12), whole_limits=Limits(10**6, 10**12), ttl_s=3600.0)
FULL, FREE = Saturation(1.5, "full"), Saturation(0.2, spare_requests=50)
KINDS = (
    ("important", "vip", 5, 0.10),
    ("flood", "flood", 0, 0.63),
    ("small", "small", 0, 0.02),
    ("batch", "b", -1, 0.25),
)
"""Name, tenant, priority and share of the requests."""


def per_call_us(call: Callable[[int], object], calls: int) -> float:
    began_s = time.process_time()
    for number in range(calls):
        call(number)
    return (time.process_time() - began_s) / calls * 1e6


def costs() -> list[Figure]:
    flow = FlowControl(WIDE)
    figures = [Figure("past an empty queue", per_call_us(lambda n: flow.offer(Item(), 1.0, FREE), 200_000), "µs", 3.0)]
    gate = Gate(FlowControl(WIDE), lambda now_s: FREE)
    enter = per_call_us(lambda n: gate.enter(Item(), lambda rejection: None), 200_000)
    figures.append(Figure("through a gate with room", enter, "µs", 5.0))
    items = [Item(0, f"tenant-{n % 50}", 300.0, 1_200) for n in range(100_000)]
    figures.append(
        Figure(
            "begin to wait, 100k waiting", per_call_us(lambda n: flow.offer(items[n], 1.0, FULL), 100_000), "µs", 20.0
        )
    )
    figures.append(Figure("leave early", per_call_us(lambda n: flow.abandon(items[3 * n]), 33_333), "µs", 20.0))
    figures.append(Figure("go on", per_call_us(lambda n: flow.next(2.0, FREE), 66_667), "µs", 20.0))
    endpoint = Candidate(
        "10.0.0.1:8000", in_flight=20, others=1, kv_cache_usage_ratio=0.5, running=18, waiting=0,
        kv_capacity_tokens=200_000, in_flight_tokens=80_000, prefill_backlog_tokens=100,
        speed=Speed(0.01, 1e-4, 0.01, 1e-3),
    )  # fmt: skip
    detect, ten = headroom_detector(), [endpoint] * 10
    return [*figures, Figure("a look at ten endpoints", per_call_us(lambda n: detect(ten), 50_000), "µs", 20.0)]


class GatedFleet(Fleet):
    """A fleet whose requests pass flow control."""

    def gate(self, detector: Detector | None, filtered: bool) -> None:
        policy = self._front._policy
        assert isinstance(policy, PickerPolicy)
        self.picking = policy
        self.detector = detector
        self.flow = FlowControl(WIDE)
        self.ttft_s: dict[tuple[str, int], list[float]] = {}
        self._looks_again = False
        logged = self._front._logged

        def ended(now_s: float, entry: tuple[str, End | None]) -> None:
            logged(now_s, entry)
            if self.detector is not None:
                self._pump(now_s)

        self._front._logged = ended  # type: ignore[method-assign]
        if filtered:
            profile = self.picking.profile
            filters = (*profile.filters, NamedFilter("room", keep_room(RoomParameters())))
            self.picking.profile = replace(profile, filters=filters)

    def _read(self, now_s: float) -> Saturation:
        assert self.detector is not None
        serving = self._serving["both"]
        for replica in serving:
            if now_s >= replica.next_scrape_s:
                replica.scrape(now_s)
        return self.detector(self.picking.picker.loads.candidates([r.address for r in serving], now_s))

    def _route(self, now_s: float, ticket: Ticket) -> None:
        if self.detector is None or ticket.sends:
            super()._route(now_s, ticket)
            return
        asked = ticket.request
        item = Item(asked.priority, asked.tenant, asked.prompt_tokens + 250.0, payload=ticket)
        verdict = self.flow.offer(item, now_s, self._read(now_s))
        if verdict.outcome is Outcome.DISPATCH:
            super()._route(now_s, ticket)
            return
        assert verdict.outcome is Outcome.QUEUED
        self._pump(now_s)

    def _pump(self, now_s: float) -> None:
        for rejection in self.flow.expired(now_s):
            self._lose(now_s, rejection.item.payload, FAILED, rejection.reason)
        while self.flow.requests:
            saturation = self._read(now_s)
            item = self.flow.next(now_s, saturation)
            if item is not None:
                super()._route(now_s, item.payload)
                continue
            if saturation.recheck_s is not None and not self._looks_again:
                self._looks_again = True
                self.agenda.at(now_s + saturation.recheck_s, self._look_again, None)
            return

    def _look_again(self, now_s: float, _: object) -> None:
        self._looks_again = False
        self._pump(now_s)

    def _close(self, now_s: float, ticket: Ticket, first_token_s: float | None, end_s: float) -> None:
        if ticket.status == FINISHED and first_token_s is not None:
            key = (ticket.request.tenant, ticket.request.priority)
            self.ttft_s.setdefault(key, []).append(first_token_s - ticket.arrived_s)
        super()._close(now_s, ticket, first_token_s, end_s)


def overload(rate_per_s: float, duration_s: float) -> list[TraceRequest]:
    draw, now_s, requests = random.Random(1), 0.0, []
    while now_s < duration_s:
        now_s += draw.expovariate(rate_per_s)
        ((_, tenant, priority, _),) = draw.choices(KINDS, [share for *_, share in KINDS])
        prompt_tokens = min(30_000, 1 + int(1_500 * draw.lognormvariate(0, 1.0)))
        output_tokens = min(4_000, 1 + int(250 * draw.lognormvariate(0, 0.7)))
        requests.append(
            TraceRequest(
                time_s=now_s, prompt_tokens=prompt_tokens, output_tokens=output_tokens, tenant=tenant, priority=priority
            )
        )
    return requests


def p90(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.9 * len(values)) - 1] if values else math.nan


def study(rate_per_s: float, duration_s: float) -> list[Figure]:
    requests = overload(rate_per_s, duration_s)
    spec = PoolSpec(replicas=4, accelerator=DEFAULT_ACCELERATOR, model=DEFAULT_MODEL)
    figures = []
    for name, detector, filtered in (
        ("no flow control", None, False),
        ("headroom", headroom_detector(), True),
        ("utilization", utilization_detector(), False),
        ("concurrency", concurrency_detector(), False),
    ):
        fleet = GatedFleet([(spec, replica_model(spec))], gateway=GatewaySpec(policy="fairlead"), seed=3)
        fleet.gate(detector, filtered)
        fleet.run(requests)
        measures = fleet.measures
        span_s = measures.last_end_s - (measures.first_arrival_s or 0.0)
        figures.append(Figure(f"{name}: answers", measures.output_tokens / span_s, "tokens/s"))
        figures.append(Figure(f"{name}: preemptions", measures.preemptions, ""))
        for kind, tenant, priority, _ in KINDS:
            figures.append(Figure(f"{name}: TTFT p90 of {kind}", p90(fleet.ttft_s.get((tenant, priority), [])), "s"))
    return figures


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rate", type=float, default=60.0, help="requests per second of the study")
    parser.add_argument("--seconds", type=float, default=40.0, help="how long they arrive")
    options = parser.parse_args()
    report(costs() + study(options.rate, options.seconds), options.json)


if __name__ == "__main__":
    main()
