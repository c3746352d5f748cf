"""One stage of a run, measured as its records come: sketches and sums are kept, records are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead.bench.config import Benchmark, ClosedLoop, OpenLoop, Search, TracedTimes
from fairlead.bench.config.shown import shown_url
from fairlead.bench.load.stages import StagePlan
from fairlead.bench.measure.client import ClientMeter
from fairlead.bench.measure.drift import drift_of, gathered, trend_of
from fairlead.bench.measure.group import Group, Window
from fairlead.bench.measure.margin import Margin
from fairlead.bench.measure.validity import Evidence, judge
from fairlead.bench.record import Outcome, Record
from fairlead.bench.records.columns import Bools, Columns, columns_of
from fairlead.bench.summary import ClientHealth, Drift, Metrics, StageSummary
from fairlead.bench.wire import Pulse

GATHERED = 512
"""Records to wait for before they are measured: what a batch costs does not depend on how many are in it."""


class StageMeter:
    """Of one stage of `config`'s load. `adapters` names the run's adapters by their numbers, as far as they are known
    when the summary is asked for."""

    def __init__(self, plan: StagePlan, config: Benchmark, adapters: list[str] | None = None) -> None:
        self._plan, self._config, self._adapters = plan, config, adapters if adapters is not None else []
        streamed = np.array([target.stream and target.api != "embeddings" for target in config.targets])

        def group() -> Group:
            return Group(plan.begin_s, config.objective, streamed)

        self._all = group()
        self._by_target = Margin[str](group, self._target_name)
        self._by_adapter = Margin[str](group, self._adapter_name)
        self._by_turn = Margin[int](group, int)
        self._client = ClientMeter(config.client.loop_lag_ms / 1e3)
        self._waiting: list[Record] = []
        self._newest_s = plan.begin_s
        self.last_end_s: float | None = None  # of what has ended
        self._due = self._sent = 0
        self._waited_s = 0.0  # by requests, for the client
        self._has_turns = False

    def add(self, records: Sequence[Record]) -> None:
        """Requests that have ended, of this stage."""
        self._waiting.extend(records)
        for record in records:
            if self.last_end_s is None or record.end_s > self.last_end_s:
                self.last_end_s = record.end_s
        if len(self._waiting) >= GATHERED:
            self._measure(None)

    def pulse(self, pulse: Pulse) -> None:
        """How a worker was during this stage."""
        self._client.pulse(pulse)

    def unfinished(self, sessions: int) -> None:
        """So many more of its sessions were cut short: they had turns left."""
        self._all.tally.unfinished += sessions

    def in_flight_at(self, time_s: float) -> float:
        """How many of its requests were under way, as far as they have ended by now: what a later stage began with."""
        return self._all.in_flight_at(time_s)

    def summary(
        self, end_s: float, workers_lost: int = 0, reasons: tuple[str, ...] = (), carried_in: float = 0.0
    ) -> StageSummary:
        """The figures, of a stage that ended at `end_s`. `reasons`: what else speaks against believing them."""
        self._measure(end_s)
        plan, window = self._plan, self._window(end_s)
        metrics = self._all.metrics(window)
        lag_p50_s, lag_p99_s = self._all.at("client_lag", 50) or 0.0, self._all.at("client_lag", 99) or 0.0
        client = self._client.health(lag_p50_s, lag_p99_s, end_s, workers_lost)
        drift = self._drift(window)
        verdict = judge(self._evidence(window, metrics, client, drift, carried_in, reasons))
        sent = self._all.sent_within(window)
        return StageSummary(
            plan.index, plan.name, plan.of, plan.intended, sent / window.seconds if window.seconds else 0.0,
            plan.begin_s, end_s, metrics, client, verdict, self._by_target.metrics(window),
            self._by_adapter.metrics(window), self._by_turn.metrics(window), drift,
        )  # fmt: skip

    def _measure(self, end_s: float | None) -> None:
        """What waits; `end_s` None: the stage goes on, and what may be in its cool-down waits on."""
        records, self._waiting = self._waiting, []
        if not records:
            return
        columns = columns_of(records)
        begin_s, until_s = self._bounds()
        if until_s is None:
            # Only its end tells where a stage's last seconds began.
            self._newest_s = max(self._newest_s, float(columns.due_s.max()))
            until_s = (self._newest_s if end_s is None else end_s) - self._config.cut.cool_down_s
            if end_s is None and self._config.cut.cool_down_s > 0:
                self._waiting = [r for r in records if r.due_s >= until_s]
                columns = columns.take(columns.due_s < until_s)
            elif end_s is None:
                until_s = float("inf")
        measured = (columns.due_s >= begin_s) & (columns.due_s < until_s)
        self._count(columns, measured)
        self._by_target.add(self._all, columns, measured, columns.target)
        self._by_adapter.add(self._all, columns, measured, columns.adapter)
        self._by_turn.add(self._all, columns, measured, columns.turn)
        self._all.add(columns, measured)

    def _bounds(self) -> tuple[float, float | None]:
        """What of the stage is measured, by its plan; None: its end is not known before it has come."""
        plan, load, cut = self._plan, self._config.load, self._config.cut
        begin_s = plan.begin_s + cut.warm_up_s
        if isinstance(load, ClosedLoop) and plan.index < len(load.stages):
            begin_s += load.stages[plan.index].ramp_s
        elif isinstance(load, Search):
            begin_s += load.settle_s
        return begin_s, plan.end_s - cut.cool_down_s if plan.end_s is not None else None

    def _window(self, end_s: float) -> Window:
        begin_s, until_s = self._bounds()
        if until_s is None:
            until_s = end_s - self._config.cut.cool_down_s
        return Window(begin_s, max(begin_s, min(until_s, end_s)))

    def _count(self, columns: Columns, measured: Bools) -> None:
        """Sessions that were due, and those of them that were sent before the stage was over."""
        end_s = self._plan.end_s if self._plan.end_s is not None else float("inf")
        first = measured & (columns.turn == 0)
        never = np.isnan(columns.sent_s) & (columns.outcome == Outcome.ABORTED)
        acted_s = columns.due_s + columns.worker_lag_s
        if not isinstance(self._config.load, TracedTimes):  # there it is the server that has not answered
            acted_s = acted_s + np.nan_to_num(columns.held_s)
        after = acted_s > end_s + self._config.client.lag_ms / 1e3
        self._waited_s += float(np.nansum(columns.worker_lag_s[measured]))
        self._due += int(first.sum())
        self._sent += int((first & ~never & ~after).sum())
        self._has_turns = self._has_turns or bool((columns.turn > 0).any())
        self._all.tally.ended_late += int((measured & (columns.end_s > end_s)).sum())

    def _drift(self, window: Window) -> Drift | None:
        ttft = trend_of(*gathered(*self._all.ttft_means(window)))
        times, flying = self._all.in_flight_means(window)
        return drift_of(ttft, trend_of(*gathered(times, np.ones(len(times)), flying)), self._plan.of != "users")

    def _evidence(
        self, window: Window, metrics: Metrics, client: ClientHealth, drift: Drift | None, carried_in: float,
        reasons: tuple[str, ...],
    ) -> Evidence:  # fmt: skip
        config, load = self._config, self._config.load
        spread = {"constant": 0.0, "poisson": 1.0}
        at_rate = isinstance(load, OpenLoop | Search) and self._plan.of == "rate"
        is_open = self._plan.of != "users"
        users = not is_open and self._plan.end_s is not None and not self._has_turns
        if isinstance(load, ClosedLoop):
            users = users and load.think_s == 0
        user_s = self._plan.intended * window.seconds if not is_open else 0.0
        cut_s = config.cut.warm_up_s + config.cut.cool_down_s
        return Evidence(
            config.client, metrics, client, self._due if is_open else 0, self._sent if is_open else 0,
            expected(self._plan, window) if at_rate else None,
            spread.get(load.process, load.cv) if isinstance(load, OpenLoop | Search) else 0.0,
            self._plan.intended if users and metrics.whole * 2 > metrics.requests else None,
            self._all.negative, carried_in, cut_s, drift, reasons,
            any(margin.has_more for margin in (self._by_target, self._by_adapter, self._by_turn)),
            self._waited_s / user_s if user_s > 0 else None, self._cap(),
        )  # fmt: skip

    def _cap(self) -> str:
        """What holds requests of this load back, by its name."""
        load = self._config.load
        if isinstance(load, OpenLoop) and load.max_in_flight is not None:
            return f"load.max_in_flight {load.max_in_flight}"
        return "the answer before them in their session" if isinstance(load, TracedTimes) else "max_connections"

    def _target_name(self, number: int) -> str:
        target = self._config.targets[number]
        return target.name or shown_url(target.url)

    def _adapter_name(self, number: int) -> str:
        return self._adapters[number] if 0 <= number < len(self._adapters) else "" if number < 0 else f"#{number}"


def expected(plan: StagePlan, window: Window) -> float:
    """Arrivals of a stage's rate in a window: its integral, where the rate rises evenly."""
    if plan.to is None or plan.end_s is None:
        return plan.intended * window.seconds
    rise = (plan.to - plan.intended) / (plan.end_s - plan.begin_s)
    middle_s = (window.begin_s + window.end_s) / 2 - plan.begin_s
    return (plan.intended + rise * middle_s) * window.seconds
