"""All parts of one picker put together, without its sockets. `run` serves it; tests and tools make it as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from fairlead.clock import SYSTEM, Clock
from fairlead.engines import EngineSignals
from fairlead.gateway.director import Director
from fairlead.gateway.disaggregation import EncodeLegs, PrefillLegs
from fairlead.gateway.endpoints import Registry
from fairlead.gateway.flow import NO_ENDPOINTS, Gate, Gates, Saturation, Waker
from fairlead.gateway.flow.control import Budget
from fairlead.gateway.flow.gate import default_gate
from fairlead.gateway.latency.predictor import LatencyPredictor
from fairlead.gateway.load import LoadTable
from fairlead.gateway.observe.journal import Journal
from fairlead.gateway.observe.metrics import GatewayMetrics
from fairlead.gateway.observe.requests import RequestSeries
from fairlead.gateway.observe.state import PickerState, pool_state
from fairlead.gateway.observe.tracing import NoTraces, Traces
from fairlead.gateway.observe.traffic import Traffic
from fairlead.gateway.peers import Peers
from fairlead.gateway.picker import EndpointPicker
from fairlead.gateway.plan import Plans, PoolSettings
from fairlead.gateway.prefix.combined import CombinedIndex
from fairlead.gateway.prefix.precise import PreciseIndex
from fairlead.gateway.prefix.tree import PrefixTree
from fairlead.gateway.route import Completion
from fairlead.gateway.scrape.recovery import Recovery
from fairlead.gateway.scrape.scraper import Scraper
from fairlead.gateway.splitting import Splitter
from fairlead.gateway.watcher import Watcher

MakeWaker = Callable[[str, Callable[[], str]], Waker | None]
"""From a pool's key and what tells its scale target now."""


class Assembly:
    """One picker."""

    def __init__(
        self,
        *,
        default: PoolSettings | None = None,
        traces: Traces | None = None,
        replica: str | None = None,
        clock: Clock = SYSTEM,
        random: Random | None = None,
    ) -> None:
        self.clock = clock
        self.registry = Registry()
        self.loads = LoadTable(replica)
        self.tree = PrefixTree()
        self.prefixes = CombinedIndex(self.tree, PreciseIndex(clock))
        self.peers = Peers(
            self.loads, self.prefixes, self._completed_elsewhere, tree=self.tree, busy=self._busy, clock=clock
        )
        self.picker = EndpointPicker(self.loads, self.peers.prefixes, LatencyPredictor())
        self.metrics = GatewayMetrics(self.registry, self.loads)
        self.metrics.flow.saturations = self._saturations
        self.metrics.extra.append(self._own_families)
        self.plans = Plans(self.registry, self.picker, default)
        self.make_waker: MakeWaker | None = None
        """Starts first replicas of pools that have none; None where nothing can. Counts for gates made later."""
        self.gates = Gates(self._make_gate)
        self.scraper = Scraper(self.registry, self.loads, self.metrics.scraped, clock)
        self.scraper.on_scraped.append(self._scraped)
        self.scraper.on_restarted.append(self._restarted)
        self.recovery = Recovery(self.registry, self.loads, clock)
        self.journal = Journal()
        self.watcher = Watcher(self.scraper, self.recovery, self.journal, traces or NoTraces(), clock)
        self.watcher.on_unknown_end = self._unknown_end
        self.splitter = Splitter(self.picker, PrefillLegs(self.picker, clock), EncodeLegs())
        self.metrics.disaggregated = self.splitter.decisions
        self.traffic = Traffic(self.registry, self.loads, clock)
        self.director = Director(
            self.registry, self.picker, self.plans, self.gates, self.splitter, self.metrics, clock,
            random=random, hooks=self.watcher, traffic=self.traffic,
        )  # fmt: skip

    # Flow control

    def _make_gate(self, pool: str, budget: Budget) -> Gate:
        plan = self.plans.get(pool)
        settings = plan.settings.flow if plan is not None else self.plans.default.flow
        waker = self.make_waker(pool, lambda: self._scale_target(pool)) if self.make_waker is not None else None

        def read(now_s: float) -> Saturation:
            return self.saturation(pool, now_s)

        return default_gate(
            pool, budget, read, settings=settings, wake=waker, meter=self.metrics.flow, clock=self.clock
        )

    def saturation(self, pool: str, now_s: float) -> Saturation:
        """How full a pool is."""
        plan = self.plans.get(pool)
        if plan is None or not plan.answering:
            return NO_ENDPOINTS
        return plan.settings.detector(self.loads.candidates(plan.pool.addresses, now_s))

    def _scale_target(self, pool: str) -> str:
        found = self.registry.pools.get(pool)
        return found.scale_target if found is not None else ""

    def _saturations(self) -> Iterable[tuple[str, float]]:
        now_s = self.clock.monotonic_s()
        return [(pool, min(self.saturation(pool, now_s).value, 1e6)) for pool in self.registry.pools]

    def _own_families(self) -> Iterable[Metric]:
        peers = GaugeMetricFamily("fairlead_gateway_peers", "Other pickers this one hears of.")
        peers.add_metric([], len(self.peers.replicas))
        lost = CounterMetricFamily("fairlead_gateway_peer_ends_lost", "Ends that could not be handed to their picker.")
        lost.add_metric([], self.peers.lost_ends)
        out = GaugeMetricFamily("fairlead_gateway_endpoints_out", "Endpoints taken out as their requests failed.")
        out.add_metric([], len(list(self.recovery.outliers.out)))
        shadowed = GaugeMetricFamily("fairlead_gateway_shadowed_models", "Model names that several pools list.")
        shadowed.add_metric([], len(self.registry.shadowed))
        blocks = GaugeMetricFamily("fairlead_gateway_prefix_blocks", "Blocks in the prefix index.")
        blocks.add_metric([], self.tree.blocks)
        memory = GaugeMetricFamily("fairlead_gateway_prefix_memory_bytes", "Memory of the prefix index.")
        memory.add_metric([], self.tree.memory_bytes)
        return peers, lost, out, shadowed, blocks, memory

    # What peers say

    def _completed_elsewhere(self, completion: Completion) -> None:
        self.director.completed(completion)

    def _unknown_end(self, completion: Completion) -> None:
        if self.peers.is_foreign(completion.pick_id):
            self.peers.forward(completion)

    def _busy(self, address: str) -> None:
        self.scraper.picked(address)

    # What engines say

    def _scraped(self, address: str, signals: EngineSignals) -> None:
        if signals.kv_cache_capacity_tokens:
            self.prefixes.set_capacity(address, signals.kv_cache_capacity_tokens)
        candidate = self.loads.of(address).candidate
        if candidate.speed is None:
            candidate.speed = self.picker.predictor.speed_of(address)
        for pool in self.registry.pools_at(address):
            self.gates.poke(pool)

    def _restarted(self, address: str) -> None:
        self.prefixes.restarted(address)
        self.recovery.forget(address)

    # Pages

    def metrics_page(self) -> bytes:
        """Prometheus text."""
        return self.metrics.page(self.clock.monotonic_s())

    def state(self) -> PickerState:
        """All pools and endpoints as decisions see them."""
        now_s = self.clock.monotonic_s()
        by_pool: dict[str, list[RequestSeries]] = {}
        for series in self.metrics.requests.all.values():
            by_pool.setdefault(series.labels.pool, []).append(series)
        return PickerState(
            self.loads.replica,
            now_s,
            tuple(
                pool_state(
                    pool,
                    self.plans.of(pool).settings.profile.name,
                    self.loads,
                    by_pool.get(key, []),
                    now_s,
                    queued=self.metrics.flow.queued_in(key),
                    saturation=min(self.saturation(key, now_s).value, 1e6),
                )
                for key, pool in sorted(self.registry.pools.items())
            ),
        )

    def decisions(self, pool: str, limit: int) -> list[msgspec.Struct]:
        """Short forms of the decisions kept, newest first."""
        return list(self.journal.summaries(pool, limit))

    def decision(self, name: str) -> msgspec.Struct | None:
        """A decision kept, by its request's id or the pick's; `last` is the newest."""
        kept = self.journal.find(name)
        return kept.record() if kept is not None else None

    def config(self) -> object:
        """The effective configuration of every pool."""
        return {key: self.plans.describe(key) for key in sorted(self.registry.pools)}
