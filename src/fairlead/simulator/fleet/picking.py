"""The live gateway's picker as a policy of the fleet: the same tables, predictor and profile, told the same things.

Reports come at the scraper's pace and ends when the access log tells of them; times to first token are therefore known
only when the whole answer is out. How long an answer will be is learned from those before it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from fairlead.engines import EngineSignals
from fairlead.gateway.latency.output_lengths import OutputLengths
from fairlead.gateway.latency.predictor import LatencyPredictor
from fairlead.gateway.load import LoadTable
from fairlead.gateway.pick import NoPick, Profile, Query
from fairlead.gateway.picker import EndpointPicker
from fairlead.gateway.prefix.tree import PrefixTree
from fairlead.simulator.fleet.asked import Asked
from fairlead.simulator.fleet.policy import Decision, End, Seen

IDLE_INTERVAL_S = 4.0
"""As `gateway.scrape.IDLE_INTERVAL_S`."""


class PickerPolicy:
    """A profile over an `EndpointPicker` of its own. `busy_interval_s` is the scraper's shortest."""

    watches = True

    def __init__(self, profile: Profile, rng: random.Random, busy_interval_s: float) -> None:
        self.profile = profile
        self.prefixes = PrefixTree()
        self.picker = EndpointPicker(LoadTable("simulated"), self.prefixes, LatencyPredictor())
        self._rng = rng
        self._busy_s = busy_interval_s
        self._interval_s: dict[str, float] = {}
        self._lengths = OutputLengths()
        self._open: dict[str, Asked] = {}  # pick id -> request

    def pick(self, now_s: float, asked: Asked | None, seen: Sequence[Seen]) -> Decision | NoPick:
        assert asked is not None
        slo = asked.slo
        query = Query(
            model=asked.model,
            adapter=asked.adapter,
            prompt_tokens=asked.prompt_tokens,
            output_tokens=self._lengths.expected_tokens(asked.model, asked.tenant),
            priority=asked.priority,
            fairness_id=asked.tenant,
            session=asked.session,
            ttft_slo_s=slo.ttft_s if slo is not None else None,
            itl_slo_s=slo.itl_s if slo is not None else None,
        )
        addresses = [replica.address for replica in seen]
        picked = self.picker.pick(self.profile, query, asked.blocks, addresses, now_s, self._rng.random())
        if isinstance(picked, NoPick):
            return picked
        self._open[picked.pick_id] = asked
        return Decision(picked.pick.address, picked.pick_id)

    def reported(self, address: str, signals: EngineSignals, at_s: float) -> float:
        self.picker.loads.scraped(address, signals, at_s, at_s)
        if signals.kv_cache_capacity_tokens:
            self.prefixes.set_capacity(address, signals.kv_cache_capacity_tokens)
        load = self.picker.loads.of(address)
        if load.in_flight or load.others:
            interval_s = self._busy_s
        else:
            interval_s = min(IDLE_INTERVAL_S, max(self._busy_s, 2 * self._interval_s.get(address, 0.0)))
        self._interval_s[address] = interval_s
        return interval_s

    def ended(self, pick_id: str, end: End | None) -> None:
        asked = self._open.pop(pick_id)
        if end is None:
            self.picker.ended(pick_id)
            return
        self._lengths.observe(asked.model, asked.tenant, end.output_tokens)
        self.picker.ended(
            pick_id, ttft_s=end.ttft_s, itl_s=end.itl_s, whole_s=end.whole_s, output_tokens=end.output_tokens
        )

    def gone(self, address: str) -> None:
        self.picker.forget(address)
        self._interval_s.pop(address, None)
