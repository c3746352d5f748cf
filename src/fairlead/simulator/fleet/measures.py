"""What is counted while requests end: sketches of latencies, objectives kept, tokens; flat in memory.

TTFT  first token - arrival, as the client sees it: gateway, queue, prompt, hand-off and frontend included
TPOT  (last token - first token) / (output tokens - 1), of requests with two tokens or more (exclusive)
ITL   gap between two tokens, every gap of every request pooled; counted in the engines
E2E   last token - arrival
queue first admission to a batch - arrival
"""

from __future__ import annotations

from fairlead.simulator.engine import Sketch
from fairlead.simulator.fleet.series import Series
from fairlead.simulator.fleet.ticket import ABANDONED, Ticket
from fairlead.workload import Slo


class Measures:
    """Of a whole study."""

    def __init__(self, slo: Slo) -> None:
        self.slo = slo
        self.has_slo = bool(slo)
        self.ttft = Sketch()
        self.tpot = Sketch()
        self.e2e = Sketch()
        self.queue = Sketch()
        self.series = Series()
        self.arrived = 0
        self.named = 0
        """Of these, requests whose content has names, so that prefixes can be shared."""
        self.finished = 0
        self.failed = 0
        self.abandoned = 0
        self.retries = 0
        self.preemptions = 0
        self.reasons: dict[str, int] = {}
        """Why requests did not finish -> how many."""
        self.prompt_tokens = 0
        """Of finished requests, as are the next two."""
        self.cached_tokens = 0
        self.output_tokens = 0
        self.good = 0
        self.good_output_tokens = 0
        self.kept = {"ttft": 0, "itl": 0, "e2e": 0}
        """Objective -> finished requests that kept it."""
        self.asked = {"ttft": 0, "itl": 0, "e2e": 0}
        """Objective -> ended requests that had it."""
        self.first_arrival_s: float | None = None
        self.last_end_s = 0.0

    def arrives(self, now_s: float) -> None:
        if self.first_arrival_s is None:
            self.first_arrival_s = now_s
        self.arrived += 1
        self.series.at(now_s).arrivals += 1

    def finishes(self, ticket: Ticket, first_token_s: float, end_s: float) -> None:
        """A request got all its tokens; moments as its client sees them."""
        arrived_s, tokens = ticket.arrived_s, ticket.generated_tokens
        ttft_s, e2e_s = first_token_s - arrived_s, end_s - arrived_s
        self.ttft.add(ttft_s)
        self.e2e.add(e2e_s)
        self.queue.add(ticket.scheduled_s - arrived_s)
        tpot_s = 0.0
        if tokens > 1:
            tpot_s = (end_s - first_token_s) / (tokens - 1)
            self.tpot.add(tpot_s)
        self.finished += 1
        self.prompt_tokens += ticket.request.prompt_tokens
        self.cached_tokens += ticket.cached_tokens
        self.output_tokens += tokens
        current = self.series.at(end_s)
        current.finished += 1
        current.output_tokens += tokens
        current.ttft_sum_s += ttft_s
        if ttft_s > current.ttft_max_s:
            current.ttft_max_s = ttft_s
        slo = ticket.request.slo
        if slo is not None or self.has_slo:
            if self._judge(slo or self.slo, ttft_s, tpot_s, e2e_s):
                self.good += 1
                self.good_output_tokens += tokens
        else:
            self.good += 1
            self.good_output_tokens += tokens
        self._ended(ticket, end_s)

    def _judge(self, slo: Slo, ttft_s: float, tpot_s: float, e2e_s: float) -> bool:
        good = True
        for name, limit_s, value_s in (
            ("ttft", slo.ttft_s, ttft_s),
            ("itl", slo.itl_s, tpot_s),
            ("e2e", slo.e2e_s, e2e_s),
        ):
            if limit_s is not None:
                self.asked[name] += 1
                if value_s <= limit_s:
                    self.kept[name] += 1
                else:
                    good = False
        return good

    def is_lost(self, ticket: Ticket, now_s: float) -> None:
        """A request ends without all its tokens."""
        if ticket.status == ABANDONED:
            self.abandoned += 1
        else:
            self.failed += 1
        self.reasons[ticket.reason] = self.reasons.get(ticket.reason, 0) + 1
        self.series.at(now_s).lost += 1
        slo = ticket.request.slo or self.slo
        for name, limit_s in (("ttft", slo.ttft_s), ("itl", slo.itl_s), ("e2e", slo.e2e_s)):
            if limit_s is not None:
                self.asked[name] += 1
        self._ended(ticket, now_s)

    def _ended(self, ticket: Ticket, now_s: float) -> None:
        self.retries += ticket.retries
        self.preemptions += ticket.preemptions
        if now_s > self.last_end_s:
            self.last_end_s = now_s

    @property
    def ended(self) -> int:
        """Requests that have come to their end."""
        return self.finished + self.failed + self.abandoned
