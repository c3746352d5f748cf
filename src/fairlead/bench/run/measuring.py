"""A stage's figures by plain sorting, until `measure/` has its sketches."""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from collections.abc import Iterable
from statistics import fmean, pstdev

from fairlead.bench.config import Benchmark
from fairlead.bench.load.stages import StagePlan
from fairlead.bench.record import Outcome, Record
from fairlead.bench.summary import PERCENTILES, ClientHealth, Distribution, Metrics, StageSummary, Verdict
from fairlead.bench.wire import Pulse


class StageMeter:
    def __init__(self, plan: StagePlan, config: Benchmark) -> None:
        self._plan, self._config = plan, config
        self._records: list[Record] = []
        self._pulses: list[Pulse] = []

    def add(self, records: Iterable[Record]) -> None:
        self._records.extend(records)

    def pulse(self, pulse: Pulse) -> None:
        self._pulses.append(pulse)

    def summary(self, end_s: float, workers_lost: int, reasons: tuple[str, ...]) -> StageSummary:
        plan, records = self._plan, self._records
        seconds = max(1e-9, end_s - plan.begin_s)
        whole = [r for r in records if r.outcome == Outcome.WHOLE]
        lags = sorted(r.worker_lag_s for r in records if r.sent_s == r.sent_s)
        loop = sorted(lag for p in self._pulses for lag in p.loop_lags_s)
        busy = max((p.cpu_s / p.wall_s for p in self._pulses if p.wall_s > 0.05), default=0.0)
        tokens = [r.server_output_tokens if r.server_output_tokens >= 0 else r.output_chunks for r in whole]
        gaps = [b - a for r in whole for t in [array("f", r.chunk_times)] for a, b in itertools.pairwise(t)]
        metrics = Metrics(
            len(records), len(whole),
            dict(Counter(Outcome(r.outcome).name for r in records if r.outcome != Outcome.WHOLE)),
            seconds, len(whole) / seconds, sum(max(0, r.server_prompt_tokens) for r in whole) / seconds,
            sum(tokens) / seconds,
            ttft=_of([r.first_token_s - r.sent_s for r in whole]),
            ttft_from_due=_of([r.first_token_s - r.due_s for r in whole]),
            itl=_of(gaps),
            e2e=_of([r.end_s - r.sent_s for r in whole]),
            e2e_from_due=_of([r.end_s - r.due_s for r in whole]),
            schedule_delay=_of(lags),
        )  # fmt: skip
        health = ClientHealth(
            _at(lags, 0.5), _at(lags, 0.99), _at(loop, 0.99), busy,
            sum(p.cpu_s for p in self._pulses) / max(1, len(records)), workers_lost,
        )  # fmt: skip
        limits = self._config.client
        if health.lag_p99_s * 1e3 > limits.lag_ms:
            reasons += (f"client lag p99 is {health.lag_p99_s * 1e3:.1f} ms, above client.lag_ms {limits.lag_ms:g}",)
        if not records:
            reasons += ("no request was sent",)
        return StageSummary(
            plan.index, plan.name, plan.of, plan.intended, len(records) / seconds, plan.begin_s, end_s, metrics, health,
            Verdict(not reasons, reasons),
        )  # fmt: skip


def _of(values: list[float]) -> Distribution | None:
    if not values:
        return None
    values = sorted(values)
    return Distribution(
        len(values), "s", fmean(values), pstdev(values), values[0], values[-1],
        {p: _at(values, p / 100) for p in PERCENTILES},
    )  # fmt: skip


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0
